/** Cross-entropy of logits whose classes lie in parts at the ranks of a group: no rank has them all. */
import type { Communicator } from '@muster/collective';
import { crossEntropy, stack, where, type Tensor } from '@muster/tensor';
import { largestOfGroup, ownIndices, reduceFromGroup } from './regions.js';

export interface VocabParallelOptions {
  readonly group: Communicator;
  /** Of all ranks together. */
  readonly classes: number;
  /** Targets of this value do not count; -100 unless told otherwise. */
  readonly ignoreIndex?: number;
}

/**
 * The mean of crossEntropy over the targets that count, from a ColumnParallelLinear's logits, [rows, classes of this rank]. Two small all-reduces, of a number and
 * of two numbers for each row; the way back takes none, since that layer's input takes one. Source: Shoeybi et al., Megatron-LM (2019), 3.
 * @param targets i64 or i32 [rows]
 */
export function vocabParallelCrossEntropy(logits: Tensor, targets: Tensor, { group, classes, ignoreIndex = -100 }: VocabParallelOptions): Tensor {
  if (group.size === 1) return crossEntropy(logits, targets, { ignoreIndex });
  const own = logits.to('f32');
  const shifted = own.sub(largestOfGroup(own.detach().amax(1, { keepDimensions: true }), group));
  const isCounted = targets.ne(ignoreIndex);
  const { places, isOwn } = ownIndices(where(isCounted, targets, 0), classes, group);
  const right = shifted.gather(1, places.unsqueeze(1)).squeeze(1).mul(isOwn.to('f32'));
  const sums = reduceFromGroup(stack([shifted.exp().sum(1), right]), group);
  const losses = sums.select(0, 0).log().sub(sums.select(0, 1));
  return where(isCounted, losses, 0).sum().div(isCounted.sum());
}
