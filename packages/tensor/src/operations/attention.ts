/** Scaled dot-product attention. The only place that knows how it is computed: with whole matrices of scores, through the products and softmax of rows. */
import { apply, type Operation } from '../autograd/graph.js';
import { isFloating } from '../dtype.js';
import { tensorError } from '../failure.js';
import { broadcast } from '../shape.js';
import { numberTensor, viewOf, type Tensor } from '../tensor.js';
import { add, mul, where } from './arithmetic.js';
import { dropout, softmax } from './activations.js';
import { lowerTriangle } from './indexing.js';
import { matmul, product } from './products.js';
import { gradientOfOwn } from './raw.js';
import { transpose } from './views.js';

interface Attention {
  readonly scale: number;
  readonly isCausal: boolean;
}

const flipped = (tensor: Tensor): Tensor =>
  viewOf(tensor, [...tensor.shape.slice(0, -2), tensor.shape.at(-1)!, tensor.shape.at(-2)!], [...tensor.strides.slice(0, -2), tensor.strides.at(-1)!, tensor.strides.at(-2)!]);

const ATTENTION: Operation<Attention> = {
  name: 'scaledDotProductAttention',
  autocast: 'lower',
  forward(context, [query, key, value], { scale, isCausal }) {
    checkAttention(query!, key!, value!);
    using keys = flipped(key!);
    const shares = product(query!, keys, { alpha: scale });
    if (isCausal) {
      using mask = lowerTriangle(shares.shape.at(-2)!, shares.shape.at(-1)!);
      using never = numberTensor(-Infinity);
      shares.device.map('where', shares, mask, shares, never);
    }
    if (shares.size > 0) shares.device.softmax(shares, shares, shares.shape.at(-1)!);
    const result = product(shares, value!);
    context.save(query!, key!, value!);
    context.saveOwn(shares);
    return result;
  },
  backward({ saved: [query, key, value, shares], inputs, wants }, gradient, { scale }) {
    using flippedShares = flipped(shares!);
    using flippedValue = flipped(value!);
    using scores = product(gradient, flippedValue);
    if (scores.size > 0) scores.device.softmaxBackward(scores, shares!, scores, scores.shape.at(-1)!);
    using flippedScores = flipped(scores);
    return [
      wants[0] ? gradientOfOwn(inputs[0]!, product(scores, key!, { alpha: scale })) : null,
      wants[1] ? gradientOfOwn(inputs[1]!, product(flippedScores, query!, { alpha: scale })) : null,
      wants[2] ? gradientOfOwn(inputs[2]!, product(flippedShares, gradient)) : null,
    ];
  },
};

function checkAttention(query: Tensor, key: Tensor, value: Tensor): void {
  const all = [query, key, value];
  if (!isFloating(query.dtype) || all.some(({ dtype }) => dtype !== query.dtype)) throw tensorError('scaledDotProductAttention', all, 'all must be of one floating dtype: convert with to()');
  const fits = all.every(({ rank }) => rank >= 2) && query.shape.at(-1) === key.shape.at(-1) && key.shape.at(-2) === value.shape.at(-2);
  if (!fits) throw tensorError('scaledDotProductAttention', all, 'they must be [..., queries, width], [..., keys, width] and [..., keys, any width]');
  const batch = broadcast(query.shape.slice(0, -2), key.shape.slice(0, -2));
  if (batch === null || broadcast(batch, value.shape.slice(0, -2)) === null) throw tensorError('scaledDotProductAttention', all, 'the dimensions before the last two do not broadcast');
}

export interface AttentionOptions {
  /** A query sees the keys up to its own place. */
  readonly isCausal?: boolean;
  /** A bool says which keys are seen; floating point is added to the scores. It broadcasts to [..., queries, keys]. */
  readonly mask?: Tensor | null;
  /** 1 / sqrt(width), unless told otherwise. */
  readonly scale?: number;
  readonly dropout?: number;
}

/** softmax(query * key^T * scale) * value, of [..., places, width]. */
export function scaledDotProductAttention(query: Tensor, key: Tensor, value: Tensor, { isCausal = false, mask = null, scale = 1 / Math.sqrt(query.shape.at(-1) ?? 1), dropout: probability = 0 }: AttentionOptions = {}): Tensor {
  if (mask === null && probability === 0) return apply(ATTENTION, [query, key, value], { scale, isCausal });
  checkAttention(query, key, value);
  if (isCausal && mask !== null) throw tensorError('scaledDotProductAttention', [query, mask], 'it takes a mask, or is causal');
  const scores = mul(matmul(query, transpose(key)), scale);
  const seen = isCausal ? lowerTriangle(scores.shape.at(-2)!, scores.shape.at(-1)!) : mask;
  const masked = seen === null ? scores : seen.dtype === 'bool' ? where(seen, scores, -Infinity) : add(scores, seen);
  return matmul(dropout(softmax(masked, -1), { probability }), value);
}
