/** A training on every rank of a mesh, whose batches a test makes. */
import { GradScaler, manualSeed, nn, optim, tensor, type DeviceName, type Tensor } from '@muster/tensor';
import { CheckpointFolder } from '../io/checkpoint-folder.js';
import type { Mesh } from '../parallel/mesh.js';
import { vocabParallelCrossEntropy } from '../parallel/cross-entropy.js';
import { ColumnParallelLinear, VocabParallelEmbedding } from '../parallel/layers.js';
import { PipelineParallel } from '../parallel/pipeline-parallel.js';
import { Training, type StepRecord } from '../training.js';
import { Block, TOKENS, WIDTH } from './tensor-parallel.js';

const PLACES = 4;
/** Of all replicas together. */
const BATCH = 8;

export interface MeshRun {
  readonly records: readonly StepRecord[];
  /** The sum of all that this rank has: equal at replicas. */
  readonly sum: number;
}

interface Plan {
  /** Up to which it trains. */
  readonly steps: number;
  /** Where a rank's gradient is infinite. */
  readonly infiniteAt?: { readonly step: number; readonly rank: number };
  readonly dropout?: number;
  readonly zero?: 1 | 2;
  readonly device?: DeviceName;
  /** Where the training is told to be; as the model, unless told otherwise. */
  readonly placeDevice?: DeviceName;
  /** Of checkpoints, after each third step unless told otherwise. */
  readonly storage?: string;
  readonly everySteps?: number;
}

/** Trains, from the last checkpoint on if there is one. */
export async function train(mesh: Mesh, { steps, infiniteAt, dropout = 0, zero, device = 'cpu', placeDevice = device, storage, everySteps = 3 }: Plan): Promise<MeshRun> {
  manualSeed(2);
  const group = mesh.tensor;
  const modules = [new VocabParallelEmbedding(TOKENS, WIDTH, { group }), new Block(group), new nn.Dropout(dropout), new Block(group), new nn.LayerNorm(WIDTH), new ColumnParallelLinear(WIDTH, TOKENS, { group })];
  const model = new PipelineParallel(modules, { mesh, microBatches: 2, ...(mesh.shape.pipeline === 2 ? { split: [3, 3] } : {}) }).to(device);
  const optimizer = new optim.SGD(model.parameters(), { learningRate: 0.1, momentum: 0.9 });
  const records: StepRecord[] = [];
  using training = await Training.begin({ model, optimizer, zero, clipGradNorm: 0.5, scaler: new GradScaler({ initialScale: 4, growthInterval: 1000 }) },
    { mesh, device: placeDevice, checkpoints: storage === undefined ? null : { folder: new CheckpointFolder(storage), everySteps, keep: 2 }, report: (record) => records.push(record), unfetched: () => [], warn: () => undefined });
  let step = training.stepCount;
  const isSpoiled = (): boolean => infiniteAt !== undefined && infiniteAt.step === step && infiniteAt.rank === mesh.world.rank;
  model.parameters()[0]!.registerHook((gradient) => (isSpoiled() ? gradient.mul(Infinity) : gradient));
  const own = BATCH / mesh.shape.data;
  for (; step < steps; step++) {
    const text = Int32Array.from({ length: own * (PLACES + 1) }, (_, index) => ((step + mesh.place.data * own + Math.floor(index / (PLACES + 1))) * 5 + (index % (PLACES + 1)) * 2) % TOKENS);
    const places = (tokens: Int32Array, from: number): Tensor => tensor(tokens, { device }).reshape(-1, PLACES + 1).slice(1, from, from + PLACES);
    await training.step(model.batch({ columns: { text }, exampleCount: own }, {
      input: (columns) => places(columns.text, 0),
      loss: (output, columns) => vocabParallelCrossEntropy(output.reshape(-1, output.shape.at(-1)!), places(columns.text, 1).reshape(-1), { group, classes: TOKENS }),
    }));
  }
  return { records, sum: model.parameters().reduce((total, parameter) => total + parameter.sum().item(), 0) };
}
