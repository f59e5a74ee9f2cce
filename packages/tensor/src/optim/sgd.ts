/** torch.optim.SGD, in one pass over memory. */
import type { Device } from '../device/device.js';
import type { Tensor } from '../tensor.js';
import { checkOption, Optimizer, type OptimizerOptions, type ParameterGroup } from './optimizer.js';

export interface SGDOptions extends OptimizerOptions {
  momentum: number;
  dampening: number;
  weightDecay: number;
  nesterov: boolean;
}

const DEFAULTS: SGDOptions = { learningRate: 1e-3, momentum: 0, dampening: 0, weightDecay: 0, nesterov: false };

export class SGD extends Optimizer<SGDOptions> {
  /** PyTorch's defaults: a learning rate of 0.001, and nothing else. */
  constructor(parameters: Iterable<Tensor> | readonly ParameterGroup<SGDOptions>[], options: Partial<SGDOptions> = {}) {
    super(parameters, DEFAULTS, options);
  }

  protected check({ learningRate, momentum, weightDecay, dampening, nesterov }: SGDOptions): void {
    checkOption('learning rate', learningRate, learningRate >= 0, '0 or more');
    checkOption('momentum', momentum, momentum >= 0, '0 or more');
    checkOption('weight decay', weightDecay, weightDecay >= 0, '0 or more');
    checkOption('momentum', momentum, !nesterov || (momentum > 0 && dampening === 0), 'above 0, without dampening, for Nesterov\'s');
  }

  protected stepGroup(device: Device, parameters: readonly Tensor[], options: SGDOptions, step: number): void {
    device.sgd(parameters.map((parameter) => ({ ...this.steppedOf(parameter), momentum: options.momentum === 0 ? null : this.memoryOf(parameter, 'momentum') })),
      { ...options, isFirstStep: step === 1 });
  }
}
