/** How a parameter is cut into the parts that the ranks of a tensor-parallel group hold, and put together again. */
import { cat, noGrad, tidy, type nn, type Shape, type Tensor } from '@muster/tensor';
import { invalidArgument } from '../failure.js';
import { shardElements, type Span } from '../machine/shards.js';

/** Which rank's part. */
export interface ShardPlace {
  readonly rank: number;
  readonly ranks: number;
}

/** Along one dimension, which is made of equal blocks: of each block every rank has a part. Queries, keys and values below each other are three blocks. */
export interface ShardLayout {
  readonly dimension: number;
  readonly blocks: number;
  /** Of the parameter as a whole. */
  readonly wholeShape: Shape;
}

/** What a module that holds parts of parameters says of them, by their names in its state. */
export interface Sharded {
  readonly shardLayouts: ReadonlyMap<string, ShardLayout>;
}

/** Which of a model's tensors are parts, by their names in its state. */
export function shardLayoutsOf(model: nn.Module, prefix = ''): Map<string, ShardLayout> {
  const layouts = new Map<string, ShardLayout>();
  for (const [name, layout] of (model as nn.Module & Partial<Sharded>).shardLayouts ?? []) layouts.set(prefix + name, layout);
  for (const [name, child] of model.children()) for (const [own, layout] of shardLayoutsOf(child, `${prefix}${name}.`)) layouts.set(own, layout);
  return layouts;
}

/** The rows of so many that are a rank's: equal parts, of which those at the end may be smaller. */
export function spanOf(extent: number, { rank, ranks }: ShardPlace): Span {
  const each = shardElements(extent, ranks);
  return { start: Math.min(extent, rank * each), end: Math.min(extent, (rank + 1) * each) };
}

/** With the cut dimension as two: blocks, and what each is made of. */
function inBlocks(shape: Shape, { dimension, blocks }: ShardLayout): number[] {
  return [...shape.slice(0, dimension), blocks, shape[dimension]! / blocks, ...shape.slice(dimension + 1)];
}

/** How many rows or columns a block has. */
const blockExtent = ({ wholeShape, dimension, blocks }: ShardLayout): number => wholeShape[dimension]! / blocks;

/**
 * A rank's part, copied. Parts at the end may be smaller than the others.
 * @throws MusterError INVALID_ARGUMENT where a rank would have nothing
 */
export function cutShard(whole: Tensor, layout: ShardLayout, { rank, ranks }: ShardPlace): Tensor {
  const { start, end } = spanOf(blockExtent(layout), { rank, ranks });
  if (start === end) throw invalidArgument(`a parameter [${layout.wholeShape.join(', ')}] of which rank ${rank} of ${ranks} has no part`, 'larger, or the group smaller');
  const shape = layout.wholeShape.map((extent, dimension) => (dimension === layout.dimension ? layout.blocks * (end - start) : extent));
  return noGrad(() => tidy(() => whole.detach().reshape(...inBlocks(layout.wholeShape, layout)).narrow(layout.dimension + 1, start, end - start).clone().reshape(...shape)));
}

/** The whole, from the parts of all ranks in their order. */
export function joinShards(parts: readonly Tensor[], layout: ShardLayout): Tensor {
  return noGrad(() => tidy(() => cat(parts.map((part) => part.detach().reshape(...inBlocks(part.shape, layout))), layout.dimension + 1).reshape(...layout.wholeShape)));
}
