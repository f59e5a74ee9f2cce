/**
 * Layers whose parameters lie in parts at the ranks of a group, as Megatron-LM cuts them: a column-parallel layer before a row-parallel one takes one all-reduce
 * forward and one backward.
 *
 * Each is written as the layer that it is a part of, whose weights it draws whole before it takes its part: with equal seeds any number of ranks holds what one rank
 * would, and in a state its tensors have the same names. With a group of one it is that layer.
 */
import type { Communicator } from '@muster/collective';
import { embedding, linear, nn, type Tensor } from '@muster/tensor';
import { invalidArgument } from '../failure.js';
import type { ParameterPart } from '../machine/parameter-part.js';
import { cutPart, type InParts } from './parts.js';
import { copyToGroup, differingInGroup, ownIndices, reduceFromGroup } from './regions.js';

export interface ParallelOptions {
  /** The ranks that share the layer: `rank.mesh.tensor`. */
  readonly group: Communicator;
}

export interface ParallelLinearOptions extends ParallelOptions {
  readonly bias?: boolean;
  /** A layer to take over, which ends, instead of drawing weights. */
  readonly whole?: nn.Linear;
}

abstract class ParallelModule extends nn.Module implements InParts {
  protected readonly group: Communicator;
  readonly parts = new Map<string, ParameterPart>();

  constructor({ group }: ParallelOptions) {
    super();
    this.group = group;
  }

  /** This rank's part of a parameter, which ends. @param name in the module's state */
  protected part(name: string, whole: Tensor, dimension: number, blocks = 1): Tensor {
    const { tensor, part } = cutPart(whole, { dimension, blocks }, { rank: this.group.rank, ranks: this.group.size });
    this.parts.set(name, part);
    whole.dispose();
    return nn.parameter(tensor);
  }
}

/** A linear layer whose outputs are cut: every rank has all inputs and computes its outputs, for a {@link RowParallelLinear} or a {@link vocabParallelCrossEntropy}. */
export class ColumnParallelLinear extends ParallelModule {
  /** [outputs of this rank, inputs] */
  readonly weight: Tensor;
  readonly bias: Tensor | null;

  constructor(inputs: number, outputs: number, { bias = true, whole = new nn.Linear(inputs, outputs, { bias }), group }: ParallelLinearOptions) {
    super({ group });
    this.weight = this.part('weight', whole.weight, 0);
    this.bias = whole.bias === null ? null : this.part('bias', whole.bias, 0);
  }

  forward(input: Tensor): Tensor {
    return linear(copyToGroup(input, this.group), this.weight, this.bias);
  }
}

/** A linear layer whose inputs are cut: every rank has those that a {@link ColumnParallelLinear} left there, and all get the outputs. */
export class RowParallelLinear extends ParallelModule {
  /** [outputs, inputs of this rank] */
  readonly weight: Tensor;
  /** The same at every rank. */
  readonly bias: Tensor | null;

  constructor(inputs: number, outputs: number, { bias = true, whole = new nn.Linear(inputs, outputs, { bias }), group }: ParallelLinearOptions) {
    super({ group });
    this.weight = this.part('weight', whole.weight, 1);
    this.bias = whole.bias;
  }

  forward(input: Tensor): Tensor {
    if (this.group.size === 1) return linear(input, this.weight, this.bias);
    const sum = reduceFromGroup(linear(input, this.weight), this.group);
    return this.bias === null ? sum : sum.add(this.bias.to(sum.dtype));
  }
}

/** An embedding whose tokens are cut: each rank looks up its own, and all get the vectors. */
export class VocabParallelEmbedding extends ParallelModule {
  /** [tokens of this rank, width] */
  readonly weight: Tensor;
  readonly #tokens: number;

  constructor(tokens: number, width: number, options: ParallelOptions) {
    super(options);
    this.#tokens = tokens;
    this.weight = this.part('weight', new nn.Embedding(tokens, width).weight, 0);
  }

  forward(tokens: Tensor): Tensor {
    if (this.group.size === 1) return embedding(this.weight, tokens);
    const { places, isOwn } = ownIndices(tokens, this.#tokens, this.group);
    const vectors = embedding(this.weight, places);
    return reduceFromGroup(vectors.mul(isOwn.unsqueeze(-1).to(vectors.dtype)), this.group);
  }
}

/** Self-attention whose heads are cut: nn.MultiheadAttention with the same names. Its dropout differs from rank to rank. */
export class HeadParallelAttention extends ParallelModule {
  /** Of this rank's queries, keys and values: [3 * width / ranks, width]. */
  readonly inProjWeight: Tensor;
  readonly inProjBias: Tensor | null;
  readonly outProj: RowParallelLinear;
  readonly #heads: nn.HeadsOptions;

  constructor(width: number, heads: number, { bias = true, dropout = 0, isCausal = false, group }: ParallelOptions & nn.AttentionModuleOptions) {
    super({ group });
    if (heads % group.size !== 0) throw invalidArgument(`${heads} heads among ${group.size} ranks`, 'as many at each rank');
    const whole = new nn.MultiheadAttention(width, heads, { bias });
    this.inProjWeight = this.part('in_proj_weight', whole.inProjWeight, 0, 3);
    this.inProjBias = whole.inProjBias === null ? null : this.part('in_proj_bias', whole.inProjBias, 0, 3);
    this.outProj = new RowParallelLinear(width, width, { whole: whole.outProj, group });
    this.#heads = { heads: heads / group.size, dropout, isCausal };
  }

  forward(input: Tensor): Tensor {
    const projected = linear(copyToGroup(input, this.group), this.inProjWeight, this.inProjBias);
    const options = this.training ? this.#heads : { ...this.#heads, dropout: 0 };
    return this.outProj.forward(differingInGroup(this.group, () => nn.attendInHeads(projected, options)));
  }
}
