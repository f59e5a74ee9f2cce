/** torch.optim.SGD, in one pass over memory. */
import { kernels, type SgdParameter } from '@muster/native';
import type { Tensor } from '../tensor.js';
import { trainingTensor } from './memory.js';
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
    super(parameters, { ...DEFAULTS, ...options });
  }

  protected check({ learningRate, momentum, weightDecay, dampening, nesterov }: SGDOptions): void {
    checkOption('learning rate', learningRate, learningRate >= 0, '0 or more');
    checkOption('momentum', momentum, momentum >= 0, '0 or more');
    checkOption('weight decay', weightDecay, weightDecay >= 0, '0 or more');
    checkOption('momentum', momentum, !nesterov || (momentum > 0 && dampening === 0), 'above 0, without dampening, for Nesterov\'s');
  }

  protected stepGroup(parameters: readonly Tensor[], options: SGDOptions, step: number): void {
    kernels.sgd(parameters.map((parameter) => this.#parameter(parameter, options)), { ...options, gradientFactor: 1, firstStep: step === 1 });
  }

  #parameter(parameter: Tensor, { momentum }: SGDOptions): SgdParameter {
    return { ...this.weightsOf(parameter), gradient: trainingTensor(parameter.grad!), momentum: momentum === 0 ? null : this.memoryOf(parameter, 'momentum') };
  }
}
