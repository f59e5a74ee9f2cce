/** A small language model in parts, and what the ranks of a test do with it. */
import type { Communicator } from '@muster/collective';
import { autocast, checkpoint, embedding, manualSeed, nn, optim, tensor, tidy, dropout, ones, zeros, type DeviceName, type Tensor } from '@muster/tensor';
import { gridSize, partOf } from '../machine/parameter-part.js';
import type { Mesh } from '../parallel/mesh.js';
import { vocabParallelCrossEntropy } from '../parallel/cross-entropy.js';
import { ColumnParallelLinear, HeadParallelAttention, RowParallelLinear, VocabParallelEmbedding } from '../parallel/layers.js';
import { copyShared, partsOf } from '../parallel/parts.js';
import { differingInGroup } from '../parallel/regions.js';

/** That 2 and 4 ranks have parts of different sizes. */
export const TOKENS = 13;
export const WIDTH = 16;
const HEADS = 4;
const PLACES = 6;
const EXAMPLES = 4;

export class Block extends nn.Module {
  readonly norm1 = new nn.LayerNorm(WIDTH);
  readonly attention: HeadParallelAttention;
  readonly norm2 = new nn.LayerNorm(WIDTH);
  readonly expand: ColumnParallelLinear;
  readonly contract: RowParallelLinear;

  constructor(group: Communicator) {
    super();
    this.attention = new HeadParallelAttention(WIDTH, HEADS, { isCausal: true, group });
    this.expand = new ColumnParallelLinear(WIDTH, 4 * WIDTH, { group });
    this.contract = new RowParallelLinear(4 * WIDTH, WIDTH, { group });
  }

  forward(input: Tensor): Tensor {
    const attended = input.add(this.attention.forward(this.norm1.forward(input)));
    return attended.add(this.contract.forward(this.expand.forward(this.norm2.forward(attended)).gelu()));
  }
}

class Model extends nn.Module {
  readonly tokens: VocabParallelEmbedding;
  readonly blocks: readonly Block[];
  readonly norm = new nn.LayerNorm(WIDTH);
  readonly output: ColumnParallelLinear;

  /** Whether blocks are computed again on the way back. */
  readonly #isCheckpointed: boolean;

  constructor(group: Communicator, blocks: number, isCheckpointed: boolean) {
    super();
    this.#isCheckpointed = isCheckpointed;
    this.tokens = new VocabParallelEmbedding(TOKENS, WIDTH, { group });
    this.blocks = Array.from({ length: blocks }, () => new Block(group));
    this.output = new ColumnParallelLinear(WIDTH, TOKENS, { group });
  }

  forward(tokens: Tensor): Tensor {
    return this.output.forward(this.norm.forward(this.blocks.reduce((x, block) => (this.#isCheckpointed ? checkpoint((input) => block.forward(input), x) : block.forward(x)), this.tokens.forward(tokens))));
  }
}

/** What comes next follows from what was: there is something to learn. */
export function textAt(step: number, device?: DeviceName): { readonly tokens: Tensor; readonly next: Tensor } {
  const at = (example: number, place: number): bigint => BigInt((step * 3 + example * 5 + place * 2) % TOKENS);
  const rows = (shift: number): bigint[] => Array.from({ length: EXAMPLES * PLACES }, (_, index) => at(Math.floor(index / PLACES), (index % PLACES) + shift));
  return { tokens: tensor(rows(0), { device }).reshape(EXAMPLES, PLACES), next: tensor(rows(1).map((token, index) => (index === 3 ? -100n : token)), { device }) };
}

/** Counts a group's all-reduces from now on. */
function countAllReduces(group: Communicator): () => number {
  const { blocking } = group;
  const original = blocking.allReduce.bind(blocking);
  let count = 0;
  blocking.allReduce = (...call) => {
    count++;
    original(...call);
  };
  return () => {
    const counted = count;
    count = 0;
    return counted;
  };
}

export interface LearnedParts {
  readonly losses: number[];
  /** All-reduces of a forward and of a backward pass. */
  readonly allReduces: readonly [number, number];
  /** How all-reduces of a GPU's memory went; null on the CPU. */
  readonly way: string | null;
  /** Of the whole model. */
  readonly weights: Record<string, number[]>;
  readonly names: string[];
}

/** Trains for some steps. */
interface Plan {
  readonly blocks: number;
  readonly steps: number;
  readonly dtype?: 'bf16';
  readonly isCheckpointed?: boolean;
  readonly device?: DeviceName;
}

export async function learn({ tensor: group }: Mesh, { blocks, steps, dtype, isCheckpointed = false, device = 'cpu' }: Plan): Promise<LearnedParts> {
  manualSeed(5);
  const model = new Model(group, blocks, isCheckpointed).to(device);
  const optimizer = new optim.SGD(model.parameters(), { learningRate: 0.05, momentum: 0.9 }); // Adam would make much of keys' biases, whose gradients are rounding errors
  const counted = countAllReduces(group);
  let allReduces: [number, number] = [0, 0];
  const losses = Array.from({ length: steps }, (_, step) => tidy(() => {
    const { tokens, next } = textAt(step, device);
    const compute = (): Tensor => vocabParallelCrossEntropy(model.forward(tokens).reshape(EXAMPLES * PLACES, -1), next, { group, classes: TOKENS });
    const loss = dtype === undefined ? compute() : autocast(compute, { dtype });
    const forward = counted();
    loss.backward();
    allReduces = [forward, counted()];
    optimizer.step();
    optimizer.zeroGrad();
    return loss.item();
  }));
  return { losses, allReduces, way: group.deviceWay?.way ?? null, weights: await wholeWeights(model.to('cpu'), group), names: Object.keys(model.stateDict()) };
}

/** Every parameter as one rank would have it. What is no part must be the same at every rank. */
async function wholeWeights(model: nn.Module, group: Communicator): Promise<Record<string, number[]>> {
  const parts = partsOf(model);
  const whole: Record<string, number[]> = {};
  for (const [name, own] of model.namedTensors()) {
    const part = parts.get(name);
    if (part === undefined) {
      const [least, most] = [own.toTypedArray() as Float32Array, own.toTypedArray() as Float32Array];
      await group.allReduce(least, { op: 'min' });
      await group.allReduce(most, { op: 'max' });
      if (least.some((value, index) => value !== most[index])) throw new Error(`${name} differs between ranks`);
      whole[name] = Array.from(least);
    } else {
      const sum = zeros([gridSize(part)]);
      copyShared({ tensor: sum, part: partOf(part) }, { tensor: own, part });
      await group.allReduce(sum.memory() as Float32Array); // where the other ranks have zeros
      whole[name] = Array.from(sum.toTypedArray() as Float32Array);
    }
  }
  return whole;
}

/** What dropout leaves inside a group's part of a layer, and outside of it before and after. */
export async function drop({ tensor: group }: Mesh): Promise<readonly [before: number[], inside: number[], after: number[]]> {
  manualSeed(3);
  const draw = (): number[] => dropout(ones([64])).toArray() as number[];
  return [draw(), differingInGroup(group, draw), draw()];
}

/** The same numbers as the layers of @muster/tensor have and make, with one rank or several. */
export async function compareLayers({ tensor: group }: Mesh): Promise<number[]> {
  const differences: number[] = [];
  const compare = (make: () => readonly [nn.Module, nn.Module], input: Tensor): void => {
    const [parallel, plain] = make();
    const [own, theirs] = [parallel, plain].map((module) => module.forward(input).toTypedArray() as Float32Array);
    differences.push(Math.max(...own!.map((value, index) => Math.abs(value - theirs![index]!))));
    if (Object.keys(parallel.stateDict()).join() !== Object.keys(plain.stateDict()).join()) throw new Error('their states have other names');
  };
  const seeded = <T>(make: () => T): T => {
    manualSeed(8);
    return make();
  };
  const x = tensor(Float32Array.from({ length: 2 * 5 * WIDTH }, (_, index) => Math.sin(index)), { shape: [2, 5, WIDTH] });
  compare(() => [seeded(() => new HeadParallelAttention(WIDTH, HEADS, { isCausal: true, group })), seeded(() => new nn.MultiheadAttention(WIDTH, HEADS, { isCausal: true }))], x);
  compare(() => [seeded(() => new VocabParallelEmbedding(TOKENS, WIDTH, { group })), seeded(() => new nn.Embedding(TOKENS, WIDTH))], textAt(0).tokens);
  compare(() => [
    seeded(() => new nn.Sequential(new ColumnParallelLinear(WIDTH, 12, { group }), new nn.ReLU(), new RowParallelLinear(12, 3, { group }))),
    seeded(() => new nn.Sequential(new nn.Linear(WIDTH, 12), new nn.ReLU(), new nn.Linear(12, 3))),
  ], x);
  return differences;
}

/** What the layers say of what they cannot do. */
export async function refuse({ tensor: group }: Mesh): Promise<string[]> {
  const messages: string[] = [];
  const attempt = (body: () => unknown): void => {
    try {
      body();
      messages.push('nothing');
    } catch (error) {
      messages.push((error as Error).message);
    }
  };
  attempt(() => new HeadParallelAttention(9, 3, { group }));
  attempt(() => new ColumnParallelLinear(4, 1, { group }));
  attempt(() => new VocabParallelEmbedding(5, 2, { group }).forward(tensor([5n])));
  attempt(() => vocabParallelCrossEntropy(ones([1, 2]), tensor([4n]), { group, classes: 4 }));
  attempt(() => embedding(new VocabParallelEmbedding(5, 2, { group }).weight, tensor([0n])));
  return messages;
}
