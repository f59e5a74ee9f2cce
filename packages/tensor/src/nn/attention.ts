/** Attention with several heads. */
import { invalid } from '../failure.js';
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

/** Attention among [examples, places, width]: PyTorch's MultiheadAttention with its parameters, batch first and of one width. */
export class MultiheadAttention extends Module {
  /** Of queries, keys and values, one below the other: [3 * width, width]. */
  readonly inProjWeight: Tensor;
  readonly inProjBias: Tensor | null;
  readonly outProj: Linear;
  readonly #heads: number;
  readonly #dropout: number;
  readonly #isCausal: boolean;

  constructor(width: number, heads: number, { bias = true, dropout = 0, isCausal = false }: AttentionModuleOptions = {}) {
    super();
    if (!Number.isInteger(heads) || heads < 1 || width % heads !== 0) throw invalid(`${heads} heads of a width of ${width}`, 'a divisor of the width');
    this.#heads = heads;
    this.#dropout = dropout;
    this.#isCausal = isCausal;
    this.inProjWeight = uniformParameter([3 * width, width], Math.sqrt(6 / (4 * width)));  // xavier_uniform
    this.inProjBias = bias ? constantParameter([3 * width], 0) : null;
    this.outProj = new Linear(width, width, { bias });
    if (bias) (this.outProj.bias!.memory() as Float32Array).fill(0);
  }

  /**
   * Without keys and values, self-attention. The mask says which keys are seen, as {@link scaledDotProductAttention}'s does (PyTorch's module takes its opposite); it
   * broadcasts to [examples, heads, queries, keys].
   */
  forward(query: Tensor, key: Tensor = query, value: Tensor = key, mask: Tensor | null = null): Tensor {
    const isSelf = key === query && value === query;
    const [queries, keys, values] = isSelf ? this.#ownHeads(query) : [this.#headsOf(query, 0), this.#headsOf(key, 1), this.#headsOf(value, 2)] as const;
    const attended = scaledDotProductAttention(queries, keys, values, { mask, isCausal: this.#isCausal, dropout: this.training ? this.#dropout : 0 });
    return this.outProj.forward(flatten(permute(attended, 0, 2, 1, 3), 2));
  }

  /** All three of one input, in one product. */
  #ownHeads(input: Tensor): readonly [Tensor, Tensor, Tensor] {
    const projected = linear(input, this.inProjWeight, this.inProjBias);
    const width = input.shape.at(-1)!;
    return [0, 1, 2].map((part) => this.#split(narrow(projected, 2, part * width, width))) as unknown as readonly [Tensor, Tensor, Tensor];
  }

  /** The queries, keys or values of an input. */
  #headsOf(input: Tensor, part: number): Tensor {
    const width = this.outProj.weight.shape[1]!;
    const bias = this.inProjBias === null ? null : narrow(this.inProjBias, 0, part * width, width);
    return this.#split(linear(input, narrow(this.inProjWeight, 0, part * width, width), bias));
  }

  /** [examples, heads, places, width of a head] */
  #split(projected: Tensor): Tensor {
    const [examples, places, width] = projected.shape as readonly [number, number, number];
    return permute(reshape(projected, examples, places, this.#heads, width / this.#heads), 0, 2, 1, 3);
  }
}
