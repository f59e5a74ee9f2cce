/**
 * The gradients of one rank's model, reduced over the ranks while the backward pass goes on.
 *
 * Gradients are written into flat buckets, and a bucket is reduced, by native's thread, as soon as its last gradient is there: by the end of the pass all but
 * the last bucket are mostly done. Where there is no core for that thread it would only have the pass wait, and its memory leave the caches: buckets are reduced when
 * the pass is over then, on the thread that has to wait for them. What a reduction is, all ranks' means for each rank or a part for each, is said by what extends this.
 */
import type { CallArray, CallOptions, Communicator } from '@muster/collective';
import type { DeviceName, Tensor } from '@muster/tensor';
import { BucketMemory } from './bucket-memory.js';
import { invalidArgument } from './failure.js';
import { BucketLine } from './machine/bucket-line.js';
import { BUCKET_SIZES, planBuckets, type Bucket, type BucketSizes } from './machine/bucket-plan.js';

export type NamedTensor = readonly [name: string, tensor: Tensor];

const ELEMENT_BYTES: Readonly<Record<string, number>> = { f32: 4, f16: 2, bf16: 2 };
/** An error names so many parameters. */
const NAMED_MAX = 5;

/** Which of a step's batches it is. */
export interface BatchPlace {
  readonly isFirst: boolean;
  readonly isLast: boolean;
}

export interface ReducerOptions {
  readonly sizes?: BucketSizes;
  /** Whether buckets are reduced beside the backward pass, and not after it. True unless told otherwise; ranks need not agree. */
  readonly overlaps?: boolean;
}

/** Of calls that a rank has nothing to do beside: far longer than ranks of equal work differ by, and not so long that messages have to wait. */
export const HOLDING: CallOptions = { holdMs: 50 };

/** Has the parameters' gradients until it is disposed of. */
export abstract class GradientReducer implements Disposable {
  protected readonly communicator: Communicator;
  protected readonly parameters: readonly NamedTensor[];
  protected readonly plan: readonly Bucket[];
  /** Where the parameters are. */
  protected readonly device: DeviceName;
  /** Of the batch that is under way. */
  protected place: BatchPlace = { isFirst: true, isLast: true };
  readonly #line: BucketLine;
  readonly #detach: (() => void)[];
  readonly #overlaps: boolean;
  #reductions: Promise<void>[] = [];

  /** @param parameters of the same names, shapes and order at every rank */
  constructor(parameters: Iterable<NamedTensor>, communicator: Communicator, { sizes = BUCKET_SIZES, overlaps = true }: ReducerOptions = {}) {
    this.communicator = communicator;
    this.#overlaps = overlaps;
    this.parameters = [...parameters];
    this.device = this.parameters[0]?.[1].device.name ?? 'cpu';
    this.plan = planBuckets(this.parameters.map(([name, { size, dtype }]) => ({ name, elementCount: size, dtype, elementBytes: ELEMENT_BYTES[dtype]! })), sizes);
    this.#line = new BucketLine(this.plan, this.parameters.length);
    this.#detach = this.parameters.map(([, parameter], gradient) => parameter.onGradient(() => this.#ready(gradient)));
  }

  /** Before each backward pass. */
  beginBatch(place: BatchPlace): void {
    this.place = place;
  }

  /**
   * After each: resolves when what it began is done, which with a step's last batch is the mean of its gradients over the ranks.
   * @throws MusterError INVALID_ARGUMENT when backward did not reach a parameter, which ends the training at every rank; CollectiveError
   */
  async endBatch(): Promise<void> {
    if (!this.reducesBatch) return;
    const unready = this.#line.unready();
    if (unready.length > 0) {
      const names = unready.slice(0, NAMED_MAX).map((gradient) => this.parameters[gradient]![0]).join(', ');
      const error = invalidArgument(`a loss that does not depend on ${names}${unready.length > NAMED_MAX ? ` and ${unready.length - NAMED_MAX} more` : ''}`, 'computed from every parameter at every rank, or the others must not require gradients');
      this.communicator.abort(error.message);
      throw error;
    }
    this.#reduceUpTo(this.plan.length);
    const reductions = this.#reductions;
    this.#reductions = [];
    this.#line.reset();
    await Promise.all(reductions);
  }

  [Symbol.dispose](): void {
    for (const detach of this.#detach) detach();
    for (const [, parameter] of this.parameters) parameter.zeroGrad();
  }

  /** Whether this batch's gradients are reduced, and not only added up. */
  protected get reducesBatch(): boolean {
    return this.place.isLast;
  }

  /** A gradient lies in its parameter's `grad`. */
  protected arrived(_gradient: number): void {}

  /** Whether a bucket is reduced as soon as it is full. */
  protected get reducesAtOnce(): boolean {
    return this.#overlaps;
  }

  /** Begins to reduce a bucket whose gradients are all there. @param options of the call */
  protected abstract reduce(bucket: number, options: CallOptions): Promise<void>;

  /** For calls beside which there is something to do, if that goes on beside them. */
  protected get holding(): CallOptions {
    return this.#overlaps ? {} : HOLDING;
  }

  #ready(gradient: number): void {
    this.arrived(gradient);
    if (!this.reducesBatch) return;
    if (this.#line.hasBegun(gradient)) throw invalidArgument(`the parameter ${this.parameters[gradient]![0]}, whose gradient grew after it had been reduced,`, 'used by one segment of checkpoint() only, or outside of them');
    const full = this.#line.ready(gradient);
    if (this.reducesAtOnce) this.#reduceUpTo(full);
  }

  #reduceUpTo(count: number): void {
    while (this.#reductions.length < count) {
      const bucket = this.#reductions.length;
      const reduction = this.reduce(bucket, bucket + 1 === this.plan.length ? HOLDING : this.holding);
      reduction.catch(() => undefined); // endBatch() throws it
      this.#reductions.push(reduction);
    }
  }
}

/** Every rank gets all gradients' means. */
export class GradientAverager extends GradientReducer {
  readonly #memory: BucketMemory;

  constructor(parameters: Iterable<NamedTensor>, communicator: Communicator, options?: ReducerOptions) {
    super(parameters, communicator, options);
    this.#memory = new BucketMemory(this.plan, 1, this.device);
    this.plan.forEach(({ slots }, bucket) => slots.forEach((slot) => { this.parameters[slot.gradient]![1].gradientTarget = this.#memory.target(bucket, slot, this.parameters[slot.gradient]![1].shape); }));
  }

  override [Symbol.dispose](): void {
    super[Symbol.dispose]();
    for (const [, parameter] of this.parameters) {
      parameter.gradientTarget?.dispose();
      parameter.gradientTarget = null;
    }
    this.#memory[Symbol.dispose]();
  }

  protected override reduce(bucket: number, options: CallOptions): Promise<void> {
    if (this.communicator.size === 1) return Promise.resolve();
    const { dtype } = this.plan[bucket]!;
    return this.communicator.allReduce(this.#memory.of(bucket).elements() as CallArray, { ...options, op: 'average', dtype: dtype as 'f32' });
  }
}
