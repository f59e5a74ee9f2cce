/**
 * Where a computation enters and leaves the part of a layer that ranks share, as operations whose backward passes are each other's forward passes.
 *
 *                   forward        backward
 *   copyToGroup     nothing        all-reduce     Megatron-LM's f: every rank computes with the same input, and its gradient has a part from each
 *   reduceFromGroup all-reduce     nothing        Megatron-LM's g: every rank has a part of the sum
 *
 * They wait for the other ranks on the JavaScript thread, as kernels run on it: layers and losses stay plain functions. Of tensors on a GPU what is waited for is the ranks' word, and where
 * GPUs talk to each other their meeting. Every rank does the same operations in the
 * same order. Source: Shoeybi et al., Megatron-LM (2019), 3.
 */
import type { CallArray, Communicator } from '@muster/collective';
import { autograd, defaultGenerator, noGrad, type Tensor } from '@muster/tensor';
import { invalidArgument } from '../failure.js';
import { spanOf } from './parts.js';

/** A dense copy that holds the reduction over the ranks. */
function allReduced(tensor: Tensor, group: Communicator, op: 'sum' | 'max' = 'sum'): Tensor {
  const result = tensor.clone();
  group.blocking.allReduce(result.elements() as CallArray, { op, dtype: result.dtype as 'f32' });
  return result;
}

const COPY_TO_GROUP: autograd.Operation<Communicator> = {
  name: 'copyToGroup',
  forward: (_, [input]) => input!.detach(),
  backward: (_, gradient, group) => [allReduced(gradient, group)],
};

const REDUCE_FROM_GROUP: autograd.Operation<Communicator> = {
  name: 'reduceFromGroup',
  forward: (_, [input], group) => allReduced(input!, group),
  backward: (_, gradient) => [gradient],
};

/** The input, which all ranks of the group have, on its way into their parts of a layer: its gradient is the sum of theirs. */
export function copyToGroup(input: Tensor, group: Communicator): Tensor {
  return group.size === 1 ? input : autograd.apply(COPY_TO_GROUP, [input], group);
}

/** The sum of what the ranks of the group have: each rank's gradient is the whole one. */
export function reduceFromGroup(input: Tensor, group: Communicator): Tensor {
  return group.size === 1 ? input : autograd.apply(REDUCE_FROM_GROUP, [input], group);
}

/** The largest over the ranks, of each number. A constant to the backward pass. */
export function largestOfGroup(input: Tensor, group: Communicator): Tensor {
  return group.size === 1 ? input.detach() : noGrad(() => allReduced(input, group, 'max'));
}

/**
 * Which of the rows that a group shares are this rank's, and where they lie here; a row of another rank is said to lie anywhere.
 * @param indices whole numbers from 0 to `count` - 1
 * @throws MusterError INVALID_ARGUMENT for others: no rank would have them
 */
export function ownIndices(indices: Tensor, count: number, group: Communicator): { readonly places: Tensor; readonly isOwn: Tensor } {
  if (indices.size > 0) {
    const [least, most] = [indices.amin().item(), indices.amax().item()];
    if (least < 0 || most >= count) throw invalidArgument(`indices from ${least} to ${most}`, `from 0 to ${count - 1}`);
  }
  const { start, end } = spanOf(count, { rank: group.rank, ranks: group.size });
  const shifted = indices.sub(start);
  const places = shifted.clamp({ min: 0, max: end - start - 1 });
  return { places, isOwn: places.eq(shifted) };
}

/** Runs `body` with random numbers that differ between the ranks of the group; outside of it theirs agree where their seeds do. */
export function differingInGroup<T>(group: Communicator, body: () => T): T {
  return defaultGenerator.inStream(group.rank, body);
}
