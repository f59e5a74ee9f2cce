/** Training steps in one process, in turns with PyTorch, and the memory that a step takes in f32 and in bf16. */
import { allocator, autocast, manualSeed, optim, setThreads, tidy, type nn } from '@muster/tensor';
import { median, type BenchRecord } from './measure.js';
import { pythonProgram } from './native-program.js';
import { TorchSteps } from './torch-steps.js';
import { lossOf, MODEL_NAMES, WORKLOADS, type ModelName } from './train-models.js';

const THREADS = 2;
const ROUNDS = 15;
/** So many make about 50 ms. */
const STEPS: Readonly<Record<ModelName, number>> = { mlp: 40, cnn: 4, gpt: 1 };

/** Milliseconds a step. */
function stepper(name: ModelName): () => number {
  const { make, batch } = WORKLOADS[name];
  manualSeed(1);
  const model = make();
  const optimizer = new optim.AdamW(model.parameters(), { learningRate: 1e-4 });
  const given = batch();
  return () => {
    const startMs = performance.now();
    for (let step = 0; step < STEPS[name]; step++) {
      optimizer.zeroGrad();
      tidy(() => lossOf(model, given).backward());
      optimizer.step();
    }
    return (performance.now() - startMs) / STEPS[name];
  };
}

export async function runStepBench({ report, note }: { readonly report: (record: BenchRecord) => void; readonly note: (text: string) => void }): Promise<void> {
  setThreads(THREADS);
  const program = pythonProgram('torch-train.py', 'PyTorch', note);
  const torch = program === null ? null : new TorchSteps(program.python, program.script);
  const title = await torch?.title();
  for (const name of MODEL_NAMES) {
    const own = stepper(name);
    const [ours, theirs]: [number[], number[]] = [[], []];
    for (let round = -1; round < ROUNDS; round++) {
      const [ownMs, torchMs] = [own(), title ? await torch!.round(`${name} ${STEPS[name]} ${THREADS}`) : NaN];
      if (round < 0) continue; // of warming up
      ours.push(ownMs);
      theirs.push(torchMs);
    }
    const what = `${WORKLOADS[name].title}, f32, ${THREADS} threads`;
    report({ name: `${what}: step`, value: median(ours), unit: 'ms', better: 'lower' });
    if (!title) continue;
    report({ name: `${what}: step, ${title}`, value: median(theirs), unit: 'ms', better: 'lower' });
    report({ name: `${what}: PyTorch's time to muster's`, value: median(theirs.map((ms, round) => ms / ours[round]!)), unit: 'ratio', better: 'higher' });
  }
  await torch?.end();
}

/** The most memory that a forward and a backward pass of the GPT take, with its parameters and their gradients. */
export function runMemoryBench(report: (record: BenchRecord) => void): void {
  const { make, batch, title } = WORKLOADS.gpt;
  const peak = (prepare: (model: nn.Module) => nn.Module, around: <T>(body: () => T) => T): number => {
    const model = prepare(make());
    const parameterBytes = model.parameters().reduce((bytes, { storage }) => bytes + storage.memory.byteLength, 0);
    const given = batch();
    const before = allocator.statistics().usedBytes;
    allocator.resetPeak();
    tidy(() => around(() => lossOf(model, given)).backward());
    return allocator.statistics().peakBytes - before + parameterBytes;
  };
  const whole = peak((model) => model, (body) => body());
  report({ name: `${title}: parameters, gradients and activations, f32`, value: whole / 2 ** 20, unit: 'MiB', better: 'lower' });
  report({ name: `${title}: bf16 to f32 in memory, autocast`, value: peak((model) => model, autocast) / whole, unit: 'ratio', better: 'lower' });
  report({ name: `${title}: bf16 to f32 in memory, parameters too`, value: peak((model) => model.to('bf16'), (body) => body()) / whole, unit: 'ratio', better: 'lower' });
}
