/** The flat arrays that buckets of gradients, and of parameters on their way back, lie in: each padded to equal parts of the ranks. */
import { tidy, zeros, type DeviceName, type Tensor } from '@muster/tensor';
import type { Bucket, BucketSlot } from './machine/bucket-plan.js';
import { shardElements } from './machine/shards.js';

/** Elements `start` to before `end` of a dense tensor, in one dimension: a view, which outlives scopes. */
export function flatPart(tensor: Tensor, start: number, end: number): Tensor {
  return tidy(() => tensor.detach().reshape(-1).slice(0, start, end)).keep();
}

/** Arrays are made when they are first asked for, and stay until they are released. */
export class BucketMemory implements Disposable {
  readonly #plan: readonly Bucket[];
  readonly #ranks: number;
  readonly #device: DeviceName;
  readonly #open = new Map<number, Tensor>();

  /**
   * @param ranks that have a part of each bucket
   * @param device the parameters'
   */
  constructor(plan: readonly Bucket[], ranks: number, device: DeviceName) {
    this.#plan = plan;
    this.#ranks = ranks;
    this.#device = device;
  }

  /** One dimension, zeros at first. */
  of(bucket: number): Tensor {
    let memory = this.#open.get(bucket);
    if (memory === undefined) {
      const { dtype, elementCount } = this.#plan[bucket]!;
      this.#open.set(bucket, memory = zeros([this.#ranks * shardElements(elementCount, this.#ranks)], { dtype: dtype as 'f32', device: this.#device }).keep());
    }
    return memory;
  }

  isOpen(bucket: number): boolean {
    return this.#open.has(bucket);
  }

  /** Where a slot's gradient goes, in its parameter's shape: a view. */
  target(bucket: number, { offset, elementCount }: BucketSlot, shape: readonly number[]): Tensor {
    return tidy(() => this.of(bucket).slice(0, offset, offset + elementCount).reshape(...shape)).keep();
  }

  /** A rank's part of a bucket: a view. */
  part(bucket: number, rank: number): Tensor {
    const each = shardElements(this.#plan[bucket]!.elementCount, this.#ranks);
    return flatPart(this.of(bucket), rank * each, (rank + 1) * each);
  }

  release(bucket: number): void {
    this.#open.get(bucket)?.dispose();
    this.#open.delete(bucket);
  }

  [Symbol.dispose](): void {
    for (const bucket of [...this.#open.keys()]) this.release(bucket);
  }
}
