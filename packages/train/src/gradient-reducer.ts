/**
 * The gradients of one rank's model, averaged over the ranks while the backward pass goes on.
 *
 * Gradients are written into flat buckets, and a bucket is all-reduced, by native's thread, as soon as its last gradient is there: by the end of the pass all
 * but the last bucket are mostly done.
 */
import type { Communicator, NumberArray } from '@muster/collective';
import { zeros, type Tensor } from '@muster/tensor';
import { invalidArgument } from './failure.js';
import { BucketLine } from './machine/bucket-line.js';
import { BUCKET_SIZES, planBuckets, type BucketSizes } from './machine/bucket-plan.js';

type NamedTensor = readonly [name: string, tensor: Tensor];

const ELEMENT_BYTES: Readonly<Record<string, number>> = { f32: 4, f16: 2, bf16: 2 };
/** An error names so many parameters. */
const NAMED_MAX = 5;

/** Has the parameters' gradients until it is disposed of. */
export class GradientReducer implements Disposable {
  readonly #communicator: Communicator;
  readonly #parameters: readonly NamedTensor[];
  readonly #buckets: readonly Tensor[];
  readonly #line: BucketLine;
  readonly #detach: (() => void)[];
  #reductions: Promise<void>[] = [];
  /** Whether backward passes only add gradients up: those of all micro-batches of a step but the last. */
  isPaused = false;

  /** @param parameters of the same names, shapes and order at every rank */
  constructor(parameters: Iterable<NamedTensor>, communicator: Communicator, sizes: BucketSizes = BUCKET_SIZES) {
    this.#communicator = communicator;
    this.#parameters = [...parameters];
    const plan = planBuckets(this.#parameters.map(([name, { size, dtype }]) => ({ name, elementCount: size, dtype, elementBytes: ELEMENT_BYTES[dtype]! })), sizes);
    this.#buckets = plan.map(({ dtype, elementCount }) => zeros([elementCount], { dtype: dtype as 'f32' }).keep());
    this.#line = new BucketLine(plan, this.#parameters.length);
    plan.forEach(({ slots }, index) => slots.forEach(({ gradient, offset, elementCount }) => {
      const [, parameter] = this.#parameters[gradient]!;
      parameter.gradientTarget = this.#buckets[index]!.slice(0, offset, offset + elementCount).reshape(...parameter.shape).keep();
    }));
    this.#detach = this.#parameters.map(([, parameter], gradient) => parameter.onGradient(() => this.#ready(gradient)));
  }

  /**
   * Resolves when all gradients of the pass are averages over the ranks.
   * @throws MusterError INVALID_ARGUMENT when backward did not reach a parameter, which ends the training at every rank; CollectiveError
   */
  async finish(): Promise<void> {
    const unready = this.#line.unready();
    if (unready.length > 0) {
      const names = unready.slice(0, NAMED_MAX).map((gradient) => this.#parameters[gradient]![0]).join(', ');
      const error = invalidArgument(`a loss that does not depend on ${names}${unready.length > NAMED_MAX ? ` and ${unready.length - NAMED_MAX} more` : ''}`, 'computed from every parameter at every rank, or the others must not require gradients');
      this.#communicator.abort(error.message);
      throw error;
    }
    const reductions = this.#reductions;
    this.#reductions = [];
    this.#line.reset();
    await Promise.all(reductions);
  }

  [Symbol.dispose](): void {
    for (const detach of this.#detach) detach();
    for (const [, parameter] of this.#parameters) {
      parameter.zeroGrad();
      parameter.gradientTarget?.dispose();
      parameter.gradientTarget = null;
    }
    for (const bucket of this.#buckets) bucket.dispose();
  }

  #ready(gradient: number): void {
    if (this.isPaused) return;
    const begun = this.#line.ready(gradient);
    while (this.#reductions.length < begun) {
      const bucket = this.#buckets[this.#reductions.length]!;
      const reduction = this.#communicator.allReduce(bucket.memory() as NumberArray, { op: 'average', dtype: bucket.dtype as 'f32' });
      reduction.catch(() => undefined); // finish() throws it
      this.#reductions.push(reduction);
    }
  }
}
