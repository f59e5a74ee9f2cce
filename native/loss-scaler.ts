/**
 * Dynamic loss scaling by the rules of PyTorch's GradScaler: which scale the loss gets, which steps are skipped, and when the scale changes. Pure: it
 * touches no gradient, and knows no kernel. Source: Micikevicius et al. 2018; torch.amp.GradScaler.
 *
 *   ready -- unscaled() --> unscaled -- stepped() --> stepped -- update() --> ready
 *   ready -- stepped() --> stepped: for optimizers that unscale as they read
 */

/** PyTorch's defaults are 2^16, 2, 0.5 and 2000. */
export interface LossScalerOptions {
  readonly initialScale?: number;
  /** Above 1. */
  readonly growthFactor?: number;
  /** Below 1. */
  readonly backoffFactor?: number;
  /** So many updates in a row without an infinity let the scale grow. */
  readonly growthInterval?: number;
}

/** What a checkpoint keeps. */
export interface LossScalerState {
  readonly scale: number;
  readonly growthTracker: number;
}

const INITIAL_SCALE = 2 ** 16;
const GROWTH_FACTOR = 2;
const BACKOFF_FACTOR = 0.5;
const GROWTH_INTERVAL = 2000;

type Stage = 'ready' | 'unscaled' | 'stepped';

/**
 * The scale of one training run. Between two updates each optimizer is unscaled once at most and stepped once; `optimizer` is any value that stands for it.
 *
 * @example
 * const scaler = new LossScaler();
 * backward(loss * scaler.scale);
 * scaler.unscaled(optimizer, kernels.unscale(gradients, scaler.scale));   // with the MAX over ranks, where there are several
 * kernels.clipGradients(gradients, 1);
 * if (scaler.stepped(optimizer)) kernels.adam(parameters, options);
 * scaler.update();
 */
export class LossScaler {
  readonly #growthFactor: number;
  readonly #backoffFactor: number;
  readonly #growthInterval: number;
  readonly #optimizers = new Map<unknown, { stage: Stage; foundInfinity: boolean }>();
  #scale: number;
  #growthTracker = 0;

  /** @throws RangeError for options that could not scale. */
  constructor(options: LossScalerOptions = {}) {
    this.#scale = checkScale(options.initialScale ?? INITIAL_SCALE);
    this.#growthFactor = options.growthFactor ?? GROWTH_FACTOR;
    this.#backoffFactor = options.backoffFactor ?? BACKOFF_FACTOR;
    this.#growthInterval = options.growthInterval ?? GROWTH_INTERVAL;
    if (!(this.#growthFactor > 1)) throw new RangeError(`growthFactor is ${this.#growthFactor}: it must be above 1`);
    if (!(this.#backoffFactor > 0 && this.#backoffFactor < 1)) throw new RangeError(`backoffFactor is ${this.#backoffFactor}: it must be between 0 and 1`);
    if (!Number.isSafeInteger(this.#growthInterval) || this.#growthInterval < 1) throw new RangeError(`growthInterval is ${this.#growthInterval}: it must be a whole number above 0`);
  }

  /** What the loss is multiplied by, an f32. */
  get scale(): number {
    return this.#scale;
  }

  /**
   * The optimizer's gradients were unscaled, and one of them, on any rank, was infinite or NaN or not.
   * @throws Error when they were unscaled since the last update, or the optimizer has stepped.
   */
  unscaled(optimizer: unknown, foundInfinity: boolean): void {
    const stage = this.#optimizers.get(optimizer)?.stage ?? 'ready';
    if (stage === 'unscaled') throw new Error('the gradients of this optimizer were already unscaled since the last update()');
    if (stage === 'stepped') throw new Error('the gradients of this optimizer are unscaled after its step: unscale before it');
    this.#optimizers.set(optimizer, { stage: 'unscaled', foundInfinity });
  }

  /** Whether {@link unscaled} was called for it since the last update. */
  isUnscaled(optimizer: unknown): boolean {
    return this.#optimizers.has(optimizer);
  }

  /**
   * The optimizer is about to step.
   * @param foundInfinity what the check of the gradients found, if {@link unscaled} was not called before.
   * @returns whether it may: not with gradients that are not finite.
   * @throws Error when it has stepped since the last update, or nothing is known of its gradients.
   */
  stepped(optimizer: unknown, foundInfinity?: boolean): boolean {
    const known = this.#optimizers.get(optimizer);
    if (known?.stage === 'stepped') throw new Error('this optimizer has already stepped since the last update()');
    const found = known?.foundInfinity ?? foundInfinity;
    if (found === undefined) throw new Error('nothing is known of the gradients of this optimizer: unscale them, or say what their check found');
    this.#optimizers.set(optimizer, { stage: 'stepped', foundInfinity: found });
    return !found;
  }

  /**
   * Ends the iteration: an infinity shrinks the scale, and growthInterval iterations without one let it grow, if the result is finite.
   * @throws Error when no gradients were checked since the last update.
   */
  update(): void {
    if (this.#optimizers.size === 0) throw new Error('no gradients were checked since the last update()');
    const foundInfinity = [...this.#optimizers.values()].some((optimizer) => optimizer.foundInfinity);
    this.#optimizers.clear();
    if (foundInfinity) {
      this.#scale = Math.fround(this.#scale * this.#backoffFactor);
      this.#growthTracker = 0;
      return;
    }
    this.#growthTracker += 1;
    if (this.#growthTracker < this.#growthInterval) return;
    const grown = Math.fround(this.#scale * this.#growthFactor);
    if (Number.isFinite(grown)) this.#scale = grown;
    this.#growthTracker = 0;
  }

  /** What {@link restore} takes. */
  state(): LossScalerState {
    return { scale: this.#scale, growthTracker: this.#growthTracker };
  }

  /** Goes on from a checkpoint. @throws RangeError for a state that no scaler was in. */
  restore(state: LossScalerState): void {
    if (!Number.isSafeInteger(state.growthTracker) || state.growthTracker < 0) throw new RangeError(`growthTracker is ${state.growthTracker}: it must be a whole number, 0 or more`);
    this.#scale = checkScale(state.scale);
    this.#growthTracker = state.growthTracker;
    this.#optimizers.clear();
  }
}

function checkScale(scale: number): number {
  const rounded = Math.fround(scale);
  if (!(rounded > 0) || !Number.isFinite(rounded)) throw new RangeError(`the loss scale is ${scale}: it must be above 0 and finite as an f32`);
  return rounded;
}
