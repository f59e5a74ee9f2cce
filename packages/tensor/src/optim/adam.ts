/** torch.optim.Adam and AdamW, without amsgrad, in one pass over memory. */
import type { Device } from '../device/device.js';
import type { Tensor } from '../tensor.js';
import { checkOption, Optimizer, type OptimizerOptions, type ParameterGroup } from './optimizer.js';

export interface AdamOptions extends OptimizerOptions {
  betas: readonly [number, number];
  epsilon: number;
  weightDecay: number;
}

const DEFAULTS: AdamOptions = { learningRate: 1e-3, betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0 };

/** The decay is added to the gradient. */
export class Adam extends Optimizer<AdamOptions> {
  /** PyTorch's defaults: a learning rate of 0.001, betas of 0.9 and 0.999, an epsilon of 1e-8, no decay. */
  constructor(parameters: Iterable<Tensor> | readonly ParameterGroup<AdamOptions>[], options: Partial<AdamOptions> = {}) {
    super(parameters, DEFAULTS, options);
  }

  /** Whether weights decay by themselves. */
  protected get isDecoupled(): boolean {
    return false;
  }

  protected check({ learningRate, betas: [beta1, beta2], epsilon, weightDecay }: AdamOptions): void {
    checkOption('learning rate', learningRate, learningRate >= 0, '0 or more');
    checkOption('beta', beta1, beta1 >= 0 && beta1 < 1, 'from 0 to below 1');
    checkOption('beta', beta2, beta2 >= 0 && beta2 < 1, 'from 0 to below 1');
    checkOption('epsilon', epsilon, epsilon >= 0, '0 or more');
    checkOption('weight decay', weightDecay, weightDecay >= 0, '0 or more');
  }

  protected stepGroup(device: Device, parameters: readonly Tensor[], options: AdamOptions, step: number): void {
    device.adam(parameters.map((parameter) => ({
      ...this.steppedOf(parameter), firstMoment: this.memoryOf(parameter, 'firstMoment'), secondMoment: this.memoryOf(parameter, 'secondMoment'),
    })), { ...options, step, isDecoupled: this.isDecoupled });
  }
}

/** The weights decay by themselves. Source: Loshchilov and Hutter 2019. */
export class AdamW extends Adam {
  /** PyTorch's defaults: those of {@link Adam}, with a decay of 0.01. */
  constructor(parameters: Iterable<Tensor> | readonly ParameterGroup<AdamOptions>[], options: Partial<AdamOptions> = {}) {
    super(parameters, { weightDecay: 0.01, ...options });
  }

  protected override get isDecoupled(): boolean {
    return true;
  }
}
