/** torch.amp.GradScaler: gradients of 16 bits are kept from vanishing by a factor on the loss. Its rule is native's LossScaler; here are the tensors. */
import { LossScaler, type LossScalerOptions, type LossScalerState } from '@muster/native/loss-scaler';
import { mul } from '../operations/arithmetic.js';
import { checkNames, tensorError } from '../failure.js';
import type { Optimizer } from '../optim/optimizer.js';
import { byDevice, steppable } from '../optim/memory.js';
import type { Tensor } from '../tensor.js';

export interface GradScalerOptions extends LossScalerOptions {
  /** False: it scales nothing and skips nothing. */
  readonly enabled?: boolean;
}

/**
 * @example
 * const scaler = new GradScaler();
 * scaler.scale(loss).backward();
 * scaler.unscale(optimizer);               // where gradients are clipped
 * clipGradNorm(model.parameters(), 1);
 * scaler.step(optimizer);
 * scaler.update();
 */
export class GradScaler {
  readonly #scaler: LossScaler;
  readonly #enabled: boolean;
  #skippedSteps = 0;

  /** @throws TensorError for factors that could not scale */
  constructor({ enabled = true, ...options }: GradScalerOptions = {}) {
    checkNames('GradScaler', options, ['initialScale', 'growthFactor', 'backoffFactor', 'growthInterval', 'enabled']);
    this.#scaler = ruled('GradScaler', () => new LossScaler(options));
    this.#enabled = enabled;
  }

  /** What losses are multiplied by. */
  get currentScale(): number {
    return this.#enabled ? this.#scaler.scale : 1;
  }

  /** How many steps were skipped since the start. */
  get skippedSteps(): number {
    return this.#skippedSteps;
  }

  /** The loss, scaled. */
  scale(loss: Tensor): Tensor {
    return this.#enabled ? mul(loss, this.#scaler.scale) : loss;
  }

  /** Takes the scale out of the optimizer's gradients, in place. @throws TensorError when that was done since the last update */
  unscale(optimizer: Optimizer): void {
    if (this.#enabled) this.#scaler.unscaled(optimizer, this.#check(optimizer));
  }

  /**
   * As {@link unscale}, of gradients whose parts are on several ranks, which must skip together.
   * @param agree whether any rank found an infinity, from whether this one did; every rank calls it
   */
  async unscaleTogether(optimizer: Optimizer, agree: (found: boolean) => Promise<boolean>): Promise<void> {
    if (this.#enabled) this.#scaler.unscaled(optimizer, await agree(this.#check(optimizer)));
  }

  /** Steps, unless a gradient is infinite or NaN. @returns whether it did */
  step(optimizer: Optimizer): boolean {
    if (!this.#enabled) {
      optimizer.step();
      return true;
    }
    if (!this.#scaler.isUnscaled(optimizer)) this.unscale(optimizer);
    const steps = ruled('step', () => this.#scaler.stepped(optimizer));
    if (steps) optimizer.step();
    else this.#skippedSteps++;
    return steps;
  }

  /** Ends the iteration: the scale shrinks after an infinity, and grows after many iterations without one. */
  update(): void {
    if (this.#enabled) ruled('update', () => this.#scaler.update());
  }

  state(): LossScalerState {
    return this.#scaler.state();
  }

  restore(state: LossScalerState): void {
    ruled('restore', () => this.#scaler.restore(state));
  }

  /** Unscales all gradients. @returns whether one of them is not finite */
  #check(optimizer: Optimizer): boolean {
    if (this.#scaler.isUnscaled(optimizer)) throw tensorError('unscale', ['an optimizer'], 'its gradients were unscaled since the last update(), which is once for each step');
    const gradients = optimizer.parameters.flatMap(({ grad }) => (grad === null ? [] : [grad]));
    if (gradients.length === 0) throw tensorError('unscale', ['an optimizer'], 'none of its parameters has a gradient: call backward() first');
    let found = false;
    for (const [device, own] of byDevice(gradients.map(steppable))) found = device.unscale(own, this.#scaler.scale) || found;
    for (const { storage } of gradients) storage.version++;
    return found;
  }
}

/** What breaks a rule of the scaler, at the user's line. @throws TensorError */
function ruled<T>(operation: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw tensorError(operation, ['a GradScaler'], (error as Error).message);
  }
}
