/** Attention with several heads. */
import { checkNames, invalid, tensorError } from '../failure.js';
import { linear } from '../operations/products.js';
import { scaledDotProductAttention } from '../operations/attention.js';
import { flatten, narrow, permute, reshape } from '../operations/views.js';
import type { Tensor } from '../tensor.js';
import { constantParameter, uniformParameter } from './initialization.js';
import { Linear } from './layers.js';
import { Module } from './module.js';

export interface AttentionModuleOptions {
  readonly bias?: boolean;
  readonly dropout?: number;
  /** Each place sees those up to itself. */
  readonly isCausal?: boolean;
}

export interface HeadsOptions extends Pick<AttentionModuleOptions, 'dropout' | 'isCausal'> {
  readonly heads: number;
  /** Broadcasts to [examples, heads, queries, keys]; see {@link scaledDotProductAttention}. */
  readonly mask?: Tensor | null;
}

/** Attention in several heads, of queries, keys and values side by side: from [examples, places, 3 * width] to [examples, places, width]. */
export function attendInHeads(projected: Tensor, options: HeadsOptions): Tensor {
  const width = projected.shape[2]! / 3;
  const [query, key, value] = [0, 1, 2].map((part) => narrow(projected, 2, part * width, width)) as [Tensor, Tensor, Tensor];
  return attend(query, key, value, options);
}

/** The same of three tensors, [examples, places, width]. */
function attend(query: Tensor, key: Tensor, value: Tensor, { heads, mask = null, dropout = 0, isCausal = false }: HeadsOptions): Tensor {
  const [queries, keys, values] = [query, key, value].map((each) => inHeads(each, heads)) as [Tensor, Tensor, Tensor];
  return flatten(permute(scaledDotProductAttention(queries, keys, values, { mask, isCausal, dropout }), 0, 2, 1, 3), 2);
}

/** [examples, heads, places, width of a head] */
function inHeads(input: Tensor, heads: number): Tensor {
  const [examples, places, width] = input.shape as readonly [number, number, number];
  return permute(reshape(input, examples, places, heads, width / heads), 0, 2, 1, 3);
}

/** Attention among [examples, places, width]: PyTorch's MultiheadAttention with its parameters, batch first and of one width. */
export class MultiheadAttention extends Module {
  /** Of queries, keys and values, one below the other: [3 * width, width]. */
  readonly inProjWeight: Tensor;
  readonly inProjBias: Tensor | null;
  readonly outProj: Linear;
  readonly #heads: number;
  readonly #dropout: number;
  readonly #isCausal: boolean;

  constructor(width: number, heads: number, { bias = true, dropout = 0, isCausal = false, ...others }: AttentionModuleOptions = {}) {
    super();
    checkNames('MultiheadAttention', others, ['bias', 'dropout', 'isCausal']);
    if (!Number.isInteger(heads) || heads < 1 || width % heads !== 0) throw invalid(`${heads} heads of a width of ${width}`, 'a divisor of the width');
    this.#heads = heads;
    this.#dropout = dropout;
    this.#isCausal = isCausal;
    this.inProjWeight = uniformParameter([3 * width, width], Math.sqrt(6 / (4 * width)));  // xavier_uniform
    this.inProjBias = bias ? constantParameter([3 * width], 0) : null;
    this.outProj = new Linear(width, width, { bias });
    if (bias) this.outProj.bias!.device.fill(this.outProj.bias!, 0);
  }

  /**
   * Without keys and values, self-attention. The mask says which keys are seen, as {@link scaledDotProductAttention}'s does (PyTorch's module takes its opposite).
   */
  forward(query: Tensor, key: Tensor = query, value: Tensor = key, mask: Tensor | null = null): Tensor {
    for (const each of [query, key, value]) if (each.rank !== 3) throw tensorError('MultiheadAttention', [query, key, value], 'each must be [examples, places, width]');
    const options = { heads: this.#heads, isCausal: this.#isCausal, dropout: this.training ? this.#dropout : 0, mask };
    const isSelf = key === query && value === query;
    return this.outProj.forward(isSelf ? attendInHeads(linear(query, this.inProjWeight, this.inProjBias), options) : attend(this.#project(query, 0), this.#project(key, 1), this.#project(value, 2), options));
  }

  /** The queries, keys or values of an input: parts 0, 1 and 2 of the weight. */
  #project(input: Tensor, part: number): Tensor {
    const width = this.outProj.weight.shape[1]!;
    const bias = this.inProjBias === null ? null : narrow(this.inProjBias, 0, part * width, width);
    return linear(input, narrow(this.inProjWeight, 0, part * width, width), bias);
  }
}
