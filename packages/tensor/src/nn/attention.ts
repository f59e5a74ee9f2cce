/** Attention with several heads. */
import { invalid } from '../failure.js';
import { linear } from '../operations/products.js';
import { scaledDotProductAttention } from '../operations/attention.js';
import { narrow, permute, reshape } from '../operations/views.js';
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
}

/** Attention in several heads, of queries, keys and values side by side: from [examples, places, 3 * width] to [examples, places, width]. */
export function attendInHeads(projected: Tensor, { heads, dropout = 0, isCausal = false }: HeadsOptions): Tensor {
  const [examples, places, three] = projected.shape as readonly [number, number, number];
  const width = three / 3;
  const parts = reshape(projected, examples, places, 3, heads, width / heads);
  const [query, key, value] = [0, 1, 2].map((part) => permute(reshape(narrow(parts, 2, part, 1), examples, places, heads, width / heads), 0, 2, 1, 3));
  const attended = scaledDotProductAttention(query!, key!, value!, { isCausal, dropout });
  return reshape(permute(attended, 0, 2, 1, 3), examples, places, width);
}

/** Self-attention of [examples, places, width]: PyTorch's MultiheadAttention with its parameters, batch first and with one input. */
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

  forward(input: Tensor): Tensor {
    const projected = linear(input, this.inProjWeight, this.inProjBias);
    return this.outProj.forward(attendInHeads(projected, { heads: this.#heads, isCausal: this.#isCausal, dropout: this.training ? this.#dropout : 0 }));
  }
}
