/** A small model in stages, and what the ranks of a test do with it. */
import { allocator, crossEntropy, linear, manualSeed, nn, optim, tensor, type DeviceName, type Tensor } from '@muster/tensor';
import type { Mesh } from '../parallel/mesh.js';
import { PipelineParallel } from '../parallel/pipeline-parallel.js';
import type { PipelineBatch } from '../parallel/pipeline-batch.js';

export const EXAMPLES = 24;
const TOKENS = 11;
const WIDTH = 16;

class Layer extends nn.Module {
  readonly norm = new nn.LayerNorm(WIDTH);
  readonly expand = new nn.Linear(WIDTH, 4 * WIDTH);
  readonly contract = new nn.Linear(4 * WIDTH, WIDTH);

  forward(input: Tensor): Tensor {
    return input.add(this.contract.forward(this.expand.forward(this.norm.forward(input)).gelu()));
  }
}

/** The logits, with the weights of an embedding. */
class TiedHead extends nn.Module {
  readonly weight: Tensor;

  constructor({ weight }: nn.Embedding) {
    super();
    this.weight = weight;
  }

  forward(input: Tensor): Tensor {
    return linear(input, this.weight);
  }
}

function makeModel(mesh: Mesh, microBatches: number, split?: readonly number[]): PipelineParallel {
  manualSeed(4);
  const embedding = new nn.Embedding(TOKENS, WIDTH);
  const layers = Array.from({ length: 4 }, () => new Layer());
  return new PipelineParallel([embedding, ...layers, new TiedHead(embedding)], { mesh, microBatches, ...(split === undefined ? {} : { split }) });
}

function batchOf(model: PipelineParallel, step: number, exampleCount: number, device?: DeviceName): PipelineBatch<{ readonly x: Int32Array }> {
  const x = Int32Array.from({ length: exampleCount }, (_, example) => (step * 5 + example * 3) % TOKENS);
  return model.batch({ columns: { x }, exampleCount }, {
    input: (columns) => tensor(columns.x, { device }),
    loss: (output, columns) => ({ loss: crossEntropy(output, tensor(columns.x.map((token) => (token * 2 + 1) % TOKENS), { device })), metrics: { first: columns.x[0]! } }),
  });
}

export interface LearnedStage {
  readonly losses: number[];
  /** The metric of the last step. */
  readonly first: number | undefined;
  readonly weights: Record<string, number[]>;
  readonly parameters: string[];
}

interface Plan {
  readonly microBatches: number;
  readonly steps: number;
  readonly split?: readonly number[];
  readonly dtype?: 'bf16';
  readonly device?: DeviceName;
}

export async function learn(mesh: Mesh, { microBatches, steps, split, dtype, device = 'cpu' }: Plan): Promise<LearnedStage> {
  const model = makeModel(mesh, microBatches, split).to(device);
  await model.shareTied();
  const optimizer = new optim.SGD(model.parameters(), { learningRate: 0.1, momentum: 0.9 });
  const losses: number[] = [];
  let first: number | undefined;
  for (let step = 0; step < steps; step++) {
    const sums = await batchOf(model, step, EXAMPLES, device).run({ dtype, scaled: (loss) => loss, backward: async (_, goBack) => goBack() });
    await model.reduceTied();
    optimizer.step();
    optimizer.zeroGrad();
    if (sums.has('loss')) losses.push(sums.get('loss')!);
    first = sums.get('first');
  }
  const [evaluated] = [(await batchOf(model, 0, EXAMPLES, device).evaluate(dtype)).get('loss')];
  if (evaluated !== undefined) losses.push(evaluated);
  return {
    losses, first, parameters: Array.from(model.namedParameters(), ([name]) => name),
    weights: Object.fromEntries(Array.from(model.namedTensors(), ([name, weights]) => [name, Array.from(weights.toTypedArray() as Float32Array)])),
  };
}

/** The most bytes of tensors beyond those before the batch, of micro-batches of one size. */
export async function measure(mesh: Mesh, microBatches: number): Promise<number> {
  const model = makeModel(mesh, microBatches);
  const run = async (): Promise<number> => {
    const { usedBytes } = allocator.statistics();
    allocator.resetPeak();
    await batchOf(model, 0, 8 * microBatches).run({ dtype: undefined, scaled: (loss) => loss, backward: async (_, goBack) => goBack() });
    return allocator.statistics().peakBytes - usedBytes;
  };
  await run(); // makes gradients
  return run();
}

/** A stage whose output changes its shape within a batch, and a batch that does not divide. */
export async function refuse(mesh: Mesh): Promise<string> {
  const model = makeModel(mesh, 2);
  const grow = (output: Tensor): Tensor => output.sum();
  try {
    model.batch({ columns: { x: new Int32Array(3) }, exampleCount: 3 }, { input: () => tensor([0n]), loss: grow });
  } catch (error) {
    await mesh.world.barrier();
    let calls = 0;
    const batch = model.batch({ columns: { x: new Int32Array(4) }, exampleCount: 4 }, { input: () => tensor(new Int32Array(++calls)), loss: grow });
    const failure = await batch.run({ dtype: undefined, scaled: (loss) => loss, backward: async (_, goBack) => goBack() }).then(() => 'nothing', (each: Error) => {
      mesh.abort(each.message);
      return each.message;
    });
    return `${(error as Error).message}; ${failure}`;
  }
  return 'nothing';
}
