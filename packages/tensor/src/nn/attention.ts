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
    if (bias) this.outProj.bias!.device.fill(this.outProj.bias!, 0);
  }

  forward(input: Tensor): Tensor {
    const [examples, places, width] = input.shape as readonly [number, number, number];
    const projected = reshape(linear(input, this.inProjWeight, this.inProjBias), examples, places, 3, this.#heads, width / this.#heads);
    const [query, key, value] = [0, 1, 2].map((part) => permute(reshape(narrow(projected, 2, part, 1), examples, places, this.#heads, width / this.#heads), 0, 2, 1, 3));
    const attended = scaledDotProductAttention(query!, key!, value!, { isCausal: this.#isCausal, dropout: this.training ? this.#dropout : 0 });
    return this.outProj.forward(reshape(permute(attended, 0, 2, 1, 3), examples, places, width));
  }
}
