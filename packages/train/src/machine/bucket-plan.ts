/**
 * Which gradients travel together.
 *
 * One all-reduce for each parameter would pay the latency of each; one for all could not begin before backward has ended. So gradients are
 * gathered in buckets, in the reverse of the order in which parameters were registered, which is about the order in which backward
 * finishes them. The first bucket is small: the wires have work early.
 * Source: Li et al., PyTorch Distributed: Experiences on Accelerating Data Parallel Training (VLDB 2020), 3.2.3.
 */

/** A gradient as the plan sees it. */
export interface GradientShape {
  readonly name: string;
  readonly elementCount: number;
  /** Gradients of one type only share a bucket. */
  readonly dtype: string;
  readonly elementBytes: number;
}

/** A place in a bucket's one flat array, in elements. */
export interface BucketSlot {
  /** The gradient's index in the order of registration. */
  readonly gradient: number;
  readonly offset: number;
  readonly elementCount: number;
}

export interface Bucket {
  readonly dtype: string;
  /** In the order of the flat array: last registered first. */
  readonly slots: readonly BucketSlot[];
  readonly elementCount: number;
}

export interface BucketSizes {
  readonly firstBytes: number;
  readonly bytes: number;
}

/** PyTorch's. */
export const BUCKET_SIZES: BucketSizes = { firstBytes: 2 ** 20, bytes: 25 * 2 ** 20 };

/**
 * The buckets in the order in which they are reduced: the same for equal shapes, and so at every rank. A bucket is closed once it has at least its
 * size; a gradient is never cut. Each type's first bucket is small.
 */
export function planBuckets(gradients: readonly GradientShape[], sizes: BucketSizes = BUCKET_SIZES): Bucket[] {
  const buckets: Bucket[] = [];
  const open = new Map<string, { slots: BucketSlot[]; elementCount: number; limitBytes: number }>();
  for (let index = gradients.length - 1; index >= 0; index--) {
    const { dtype, elementCount, elementBytes } = gradients[index]!;
    let bucket = open.get(dtype);
    if (!bucket) open.set(dtype, (bucket = { slots: [], elementCount: 0, limitBytes: sizes.firstBytes }));
    bucket.slots.push({ gradient: index, offset: bucket.elementCount, elementCount });
    bucket.elementCount += elementCount;
    if (bucket.elementCount * elementBytes < bucket.limitBytes) continue;
    buckets.push({ dtype, slots: bucket.slots, elementCount: bucket.elementCount });
    open.set(dtype, { slots: [], elementCount: 0, limitBytes: sizes.bytes });
  }
  for (const [dtype, { slots, elementCount }] of open) {
    if (slots.length > 0) buckets.push({ dtype, slots, elementCount });
  }
  return buckets;
}
