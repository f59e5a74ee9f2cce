/**
 * Scaled dot-product attention. Without a mask of its own it is one kernel, which keeps no matrix of scores; with one it is made of products and softmax.
 */
import { apply, type Operation } from '../autograd/graph.js';
import type { AttentionShape } from '../device/device.js';
import { isFloating } from '../dtype.js';
import { tensorError } from '../failure.js';
import { broadcast, denseStrides, sizeOf, type Shape } from '../shape.js';
import { copyOf, empty, viewOf, type Tensor } from '../tensor.js';
import { add, eq, mul, where } from './arithmetic.js';
import { dropout, softmax } from './activations.js';
import { lowerTriangle } from './indexing.js';
import { matmul } from './products.js';
import { amax } from './reductions.js';
import { detach, transpose } from './views.js';

interface Attention {
  readonly scale: number;
  readonly isCausal: boolean;
}

/** [batches, heads, places, width], whose vectors lie in a row: a view, or a copy. The caller's to dispose of. */
function headsOf(tensor: Tensor): Tensor {
  const { shape, strides } = tensor;
  const rank = shape.length;
  const missing = Math.max(0, 4 - rank);
  const isView = strides[rank - 1] === 1 || shape[rank - 1] === 1;
  if (isView && rank <= 4) return viewOf(tensor, [...new Array<number>(missing).fill(1), ...shape], [...new Array<number>(missing).fill(0), ...strides]);
  using dense = copyOf(tensor);
  const four = [sizeOf(shape.slice(0, Math.max(0, rank - 3))), rank < 3 ? 1 : shape[rank - 3]!, shape[rank - 2]!, shape[rank - 1]!];
  return viewOf(dense, four, denseStrides(four));
}

function shapeOf(query: Tensor, key: Tensor, { scale, isCausal }: Attention): AttentionShape {
  const [batches, heads, queries, width] = query.shape as readonly [number, number, number, number];
  return { batches, heads, queries, keys: key.shape[2]!, width, scale, causal: isCausal };
}

/** A result of the heads' shape, laid out so that joining the heads of a place is a view: [batches, places, heads, width]. */
function resultOf(shape: Shape, like: Tensor): Tensor {
  const [batches, heads, places, width] = shape as readonly [number, number, number, number];
  using whole = empty([batches, places, heads, width], like.dtype, like.device);
  return viewOf(whole, shape, [places * heads * width, width, heads * width, 1]);
}

/** Four dimensions as the input's own. */
function inShape(tensor: Tensor, shape: Shape): Tensor {
  using own = tensor;
  if (shape.length === 4) return viewOf(own, own.shape, own.strides);
  if (shape.length < 4) return viewOf(own, shape, own.strides.slice(4 - shape.length));
  using dense = copyOf(own);
  return viewOf(dense, shape, denseStrides(shape));
}

const ATTENTION: Operation<Attention> = {
  name: 'scaledDotProductAttention',
  autocast: 'lower',
  forward(context, [query, key, value], attributes) {
    using queries = headsOf(query!);
    using keys = headsOf(key!);
    using values = headsOf(value!);
    const shape = shapeOf(queries, keys, attributes);
    const result = resultOf(queries.shape, query!);
    const logSums = empty([shape.batches * shape.heads * shape.queries], 'f32', query!.device);
    if (result.size > 0) result.device.attention(shape, { query: queries, key: keys, value: values, result, logSums });
    context.save(query!, key!, value!);
    context.saveOwn(viewOf(result, result.shape, result.strides), logSums);
    return inShape(result, query!.shape);
  },
  backward({ saved: [query, key, value, result, logSums] }, gradient, attributes) {
    using queries = headsOf(query!);
    using keys = headsOf(key!);
    using values = headsOf(value!);
    using upper = headsOf(gradient);
    const gradients = [queries, keys, values].map((heads) => resultOf(heads.shape, heads)) as [Tensor, Tensor, Tensor];
    if (result!.size === 0) {
      for (const each of gradients) each.device.fill(each, 0);
    } else {
      gradient.device.attentionBackward(shapeOf(queries, keys, attributes), { query: queries, key: keys, value: values, result: result!, logSums: logSums! },
        { result: upper, query: gradients[0], key: gradients[1], value: gradients[2] });
    }
    return gradients.map((each, index) => inShape(each, [query!, key!, value!][index]!.shape));
  },
};

/** What the one kernel takes: keys, one batch and width for all, and no fewer keys than queries where it is causal. */
function isFused(query: Tensor, key: Tensor, value: Tensor, isCausal: boolean): boolean {
  const batch = query.shape.slice(0, -2).join();
  return batch === key.shape.slice(0, -2).join() && batch === value.shape.slice(0, -2).join() && value.shape.at(-1) === query.shape.at(-1)
    && key.shape.at(-2)! > 0 && (!isCausal || key.shape.at(-2) === query.shape.at(-2));
}

function checkAttention(query: Tensor, key: Tensor, value: Tensor): void {
  const all = [query, key, value];
  const fits = all.every(({ rank, dtype }) => rank >= 2 && isFloating(dtype)) && query.shape.at(-1) === key.shape.at(-1) && key.shape.at(-2) === value.shape.at(-2);
  if (!fits) throw tensorError('scaledDotProductAttention', all, 'they must be floating [..., queries, width], [..., keys, width] and [..., keys, any width]');
  const batch = broadcast(query.shape.slice(0, -2), key.shape.slice(0, -2));
  if (batch === null || broadcast(batch, value.shape.slice(0, -2)) === null) throw tensorError('scaledDotProductAttention', all, 'the dimensions before the last two do not broadcast');
}

/** Numbers of an integer mask would be added to the scores, where 0 and 1 are meant for bools. */
function checkMask(query: Tensor, key: Tensor, { mask, isCausal }: { readonly mask: Tensor; readonly isCausal: boolean }): void {
  if (isCausal) throw tensorError('scaledDotProductAttention', [query, mask], 'it takes a mask, or is causal');
  if (mask.dtype !== 'bool' && !isFloating(mask.dtype)) throw tensorError('scaledDotProductAttention', [query, mask], 'the mask must be bool, of which true is seen, or floating point, which is added to the scores: convert with to()');
  const [queries, keys] = [query.shape.at(-2)!, key.shape.at(-2)!];
  const scores = [...broadcast(query.shape.slice(0, -2), key.shape.slice(0, -2))!, queries, keys];
  if (broadcast(scores, mask.shape) === null) throw tensorError('scaledDotProductAttention', [query, key, mask], `the mask must broadcast to [${scores.join(', ')}], of ${queries} queries and ${keys} keys`);
}

export interface AttentionOptions {
  /** A query sees the keys up to its own place. */
  readonly isCausal?: boolean;
  /** A bool says which keys are seen; floating point is added to the scores. It broadcasts to [..., queries, keys]. A query that sees none gets zeros. */
  readonly mask?: Tensor | null;
  /** 1 / sqrt(width), unless told otherwise. */
  readonly scale?: number;
  readonly dropout?: number;
}

/** softmax(query * key^T * scale) * value, of [..., places, width]. */
export function scaledDotProductAttention(query: Tensor, key: Tensor, value: Tensor, { isCausal = false, mask = null, scale = 1 / Math.sqrt(query.shape.at(-1) ?? 1), dropout: probability = 0 }: AttentionOptions = {}): Tensor {
  checkAttention(query, key, value);
  if (mask !== null) checkMask(query, key, { mask, isCausal });
  if (mask === null && probability === 0 && isFused(query, key, value, isCausal)) return apply(ATTENTION, [query, key, value], { scale, isCausal });
  const scores = mul(matmul(query, transpose(key)), scale);
  const seen = isCausal ? lowerTriangle(scores.shape.at(-2)!, scores.shape.at(-1)!, { device: scores.device }) : mask;
  if (seen === null || key.shape.at(-2) === 0) return matmul(dropout(softmax(scores, -1), { probability }), value);
  const masked = seen.dtype === 'bool' ? where(seen, scores, -Infinity) : add(scores, seen);
  // A query that sees no key has no shares: its result is 0.
  const isBlind = eq(amax(detach(masked), -1, { keepDimensions: true }), -Infinity);
  const shares = where(isBlind, 0, softmax(where(isBlind, 0, masked), -1));
  return matmul(dropout(shares, { probability }), value);
}
