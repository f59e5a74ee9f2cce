/**
 * ZeRO: each rank steps a shard of the parameters, and keeps the optimizer's state, masters and moments, of that alone.
 *
 *   backward ──bucket full──> reduce-scatter: a rank has the mean of its part ──all──> step of the parts ──> all-gather: parameters are whole again
 *
 * Stage 1 keeps whole buckets of gradients from step to step, adds the batches of a step up there and reduces once. Stage 2 keeps the shard of the gradients
 * alone: a bucket's array exists from its first gradient until it was reduced, with at most one reduction under way, and each batch is reduced into the shard.
 *
 * Source: Rajbhandari et al., ZeRO: Memory Optimizations Toward Training Trillion Parameter Models (SC 2020), 5.
 */
import type { CallArray, CallOptions, Communicator } from '@muster/collective';
import { zeros, type optim, type Tensor } from '@muster/tensor';
import { BucketMemory, flatPart } from './bucket-memory.js';
import { GradientReducer, type NamedTensor, type ReducerOptions } from './gradient-reducer.js';
import type { BucketSlot } from './machine/bucket-plan.js';
import { shardElements, slotShard, type Span } from './machine/shards.js';

/** What is cut into shards: 1, the optimizer's state; 2, the gradients, too. */
export type ZeroStage = 1 | 2;

/** A parameter's part at this rank. */
interface Part {
  readonly bucket: number;
  readonly span: Span;
  /** What is stepped: a leaf whose memory is the parameter's. */
  readonly leaf: Tensor;
}

/** Of one shape. */
function copyInto(target: Tensor, source: Tensor): void {
  target.device.map('copy', target, source);
}

/** Reduces gradients to this rank's shard, and has an optimizer step that. */
export class ShardedStep extends GradientReducer {
  readonly #stage: ZeroStage;
  readonly #memory: BucketMemory;
  /** This rank's part of each bucket's gradients. */
  readonly #shards: readonly Tensor[];
  /** By gradient. */
  readonly #parts: readonly Part[];
  /** The bucket whose reduction may be under way, in stage 2. */
  #pending: number | null = null;

  /** The optimizer steps parts from now on. @throws MusterError INVALID_ARGUMENT when it has stepped before */
  constructor(stage: ZeroStage, parameters: Iterable<NamedTensor>, optimizer: optim.Optimizer, communicator: Communicator, options?: ReducerOptions) {
    super(parameters, communicator, options);
    this.#stage = stage;
    this.#memory = new BucketMemory(this.plan, communicator.size, this.device);
    this.#shards = this.plan.map(({ dtype, elementCount }, bucket) => (stage === 1 ? this.#memory.part(bucket, communicator.rank) : zeros([shardElements(elementCount, communicator.size)], { dtype: dtype as 'f32', device: this.device }).keep()));
    const parts: Part[] = [];
    this.plan.forEach(({ slots }, bucket) => {
      for (const slot of slots) parts[slot.gradient] = this.#cut(slot, bucket);
      if (stage === 1) this.#aim(bucket);
    });
    this.#parts = parts;
    const partOf = new Map(this.parameters.map(([, parameter], gradient) => [parameter, parts[gradient]!.leaf]));
    optimizer.replaceParameters((parameter) => partOf.get(parameter)!);
  }

  /** Which elements of which parameter each of those that the optimizer steps is. */
  spans(): ReadonlyMap<Tensor, { readonly name: string; readonly span: Span }> {
    return new Map(this.#parts.map(({ span, leaf }, gradient) => [leaf, { name: this.parameters[gradient]![0], span }]));
  }

  override async endBatch(): Promise<void> {
    await super.endBatch();
    if (this.#stage === 2) this.#settle();
    if (!this.place.isLast) return;
    for (const [, parameter] of this.parameters) parameter.zeroGrad(); // what is beyond the shard is no mean
    for (const { leaf } of this.#parts) leaf.grad = leaf.gradientTarget;
  }

  /** Brings the parts that each rank has stepped to all: parameters travel in the buckets of their gradients, which are used up. */
  async gather(): Promise<void> {
    let ahead = this.#send(0);
    for (let bucket = 0; bucket < this.plan.length; bucket++) {
      const own = ahead;
      ahead = this.#send(bucket + 1);
      await own;
      for (const slot of this.plan[bucket]!.slots) {
        const [, parameter] = this.parameters[slot.gradient]!;
        using gathered = this.#memory.target(bucket, slot, parameter.shape);
        copyInto(parameter, gathered);
        parameter.storage.version++;
      }
      if (this.#stage === 2) this.#memory.release(bucket);
    }
  }

  override [Symbol.dispose](): void {
    super[Symbol.dispose]();
    this.plan.forEach((_, bucket) => this.#unaim(bucket));
    for (const { leaf } of this.#parts) {
      leaf.gradientTarget?.dispose();
      leaf.dispose();
    }
    for (const shard of this.#shards) shard.dispose();
    this.#memory[Symbol.dispose]();
  }

  protected override get reducesBatch(): boolean {
    return this.#stage === 2 || super.reducesBatch;
  }

  /** Of stage 2 in any case: it keeps no bucket for later. */
  protected override get reducesAtOnce(): boolean {
    return this.#stage === 2 || super.reducesAtOnce;
  }

  /** This rank's part of a slot, whose gradient is a part of the bucket's. */
  #cut(slot: BucketSlot, bucket: number): Part {
    const [, parameter] = this.parameters[slot.gradient]!;
    const { rank, size } = this.communicator;
    const { elementCount } = this.plan[bucket]!;
    const span = slotShard(slot, elementCount, { rank, ranks: size });
    const leaf = flatPart(parameter, span.start, span.end);
    leaf.requiresGrad = true;
    const from = span.start < span.end ? slot.offset + span.start - rank * shardElements(elementCount, size) : 0; // else nothing of it is here
    leaf.gradientTarget = flatPart(this.#shards[bucket]!, from, from + span.end - span.start);
    return { bucket, span, leaf };
  }

  /** In stage 2 the first gradient of a bucket has its array made; the gradient moves in, and those after it are written there. */
  protected override arrived(gradient: number): void {
    const { bucket } = this.#parts[gradient]!;
    if (this.#stage === 1 || this.#memory.isOpen(bucket)) return;
    this.#aim(bucket);
    const [, parameter] = this.parameters[gradient]!;
    const { grad, gradientTarget } = parameter;
    copyInto(gradientTarget!, grad!);
    grad!.dispose();
    parameter.grad = gradientTarget;
  }

  protected override reduce(bucket: number, options: CallOptions): Promise<void> {
    if (this.#stage === 2) {
      if (this.#pending !== null) this.communicator.blocking.barrier(); // within the backward pass there is no other way to have the memory of the one before
      this.#settle();
      this.#pending = bucket;
    }
    const isShard = this.#stage === 1 || this.place.isFirst;
    const own = isShard ? null : this.#memory.part(bucket, this.communicator.rank);
    const reduction = this.communicator.reduceScatter(this.#memory.of(bucket).elements() as CallArray, (own ?? this.#shards[bucket]!).elements() as CallArray, { ...options, op: 'average', dtype: this.plan[bucket]!.dtype as 'f32' });
    own?.dispose();
    return reduction;
  }

  /** What was reduced goes to the shard, and its array back. */
  #settle(): void {
    const bucket = this.#pending;
    if (bucket === null) return;
    this.#pending = null;
    if (!this.place.isFirst) {
      const part = this.#memory.part(bucket, this.communicator.rank);
      const shard = this.#shards[bucket]!;
      shard.device.map('add', shard, shard, part);
      part.dispose();
    }
    for (const { gradient } of this.plan[bucket]!.slots) this.parameters[gradient]![1].zeroGrad();
    this.#unaim(bucket);
    this.#memory.release(bucket);
  }

  /** Has gradients written into their bucket's array. */
  #aim(bucket: number): void {
    for (const slot of this.plan[bucket]!.slots) {
      const [, parameter] = this.parameters[slot.gradient]!;
      parameter.gradientTarget = this.#memory.target(bucket, slot, parameter.shape);
    }
  }

  #unaim(bucket: number): void {
    for (const { gradient } of this.plan[bucket]!.slots) {
      const [, parameter] = this.parameters[gradient]!;
      parameter.gradientTarget?.dispose();
      parameter.gradientTarget = null;
    }
  }

  /** Begins to gather a bucket, if there is one. */
  #send(bucket: number): Promise<void> {
    const slots = this.plan[bucket]?.slots;
    if (slots === undefined) return Promise.resolve();
    const part = this.#memory.part(bucket, this.communicator.rank);
    const partStart = this.communicator.rank * part.size;
    for (const { gradient, offset } of slots) {
      const { span: { start, end }, leaf } = this.#parts[gradient]!;
      if (end === start) continue;
      using place = flatPart(part, offset + start - partStart, offset + end - partStart);
      copyInto(place, leaf);
    }
    const gathered = this.communicator.allGather(part.elements() as CallArray, this.#memory.of(bucket).elements() as CallArray, { ...this.holding, dtype: this.plan[bucket]!.dtype as 'f32' });
    gathered.catch(() => undefined); // gather() throws it, in its turn
    part.dispose();
    return gathered;
  }
}
