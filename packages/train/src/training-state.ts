/** What a checkpoint holds: a file of safetensors for each rank that has a shard of the optimizer's state, or one; the first has the model, too. */
import { fromSafetensors, tidy, toSafetensors, zeros, type GradScaler, type nn, type optim, type Tensor } from '@muster/tensor';
import { invalidArgument } from './failure.js';
import { overlap, type ShardSpan } from './machine/shards.js';
import type { StepRecord } from './training.js';

/** What is being trained. */
export interface Trained {
  readonly model: nn.Module;
  readonly optimizer: optim.Optimizer;
  readonly scaler?: GradScaler;
  readonly schedule?: optim.LRScheduler;
}

/** What is trained at one rank. */
export interface TrainedShard extends Trained {
  /** Which part of its parameter each of the optimizer's is; null: the optimizer steps whole ones. */
  readonly shards: ReadonlyMap<Tensor, ShardSpan> | null;
}

/** How far a training is. */
export interface Position {
  /** Steps of the optimizer. */
  readonly step: number;
  /** Examples that all ranks have taken from the loader, over all epochs. */
  readonly examples: number;
}

/** What else goes on after a restart. */
export interface Progress extends Position {
  /** Of the last steps: those that rank 0 has told nobody yet. */
  readonly records: readonly StepRecord[];
}

/** What is not a tensor. */
interface State extends Progress {
  readonly optimizer: {
    /** Its class. */
    readonly kind: string;
    readonly steps: readonly number[];
    readonly groups: readonly object[];
    /** Of each parameter the part whose state is here. */
    readonly spans: readonly ShardSpan[];
  };
  readonly scaler: object | null;
  readonly scheduleSteps: number | null;
}

const MODEL = 'model.';
const OPTIMIZER = 'optimizer.';

const spansOf = ({ optimizer, shards }: TrainedShard): ShardSpan[] => optimizer.parameters.map((parameter) => shards?.get(parameter) ?? { start: 0, end: parameter.size, size: parameter.size });

/** One rank's file. */
export function encodeState(trained: TrainedShard, progress: Progress, { hasModel }: { readonly hasModel: boolean }): Uint8Array {
  const { model, optimizer, scaler, schedule } = trained;
  const { steps, groups, tensors } = optimizer.state();
  const named: Record<string, Tensor> = {};
  if (hasModel) for (const [name, tensor] of Object.entries(model.stateDict())) named[MODEL + name] = tensor;
  tensors.forEach((state, parameter) => {
    for (const [name, tensor] of Object.entries(state)) named[`${OPTIMIZER}${parameter}.${name}`] = tensor;
  });
  const state: State = { ...progress, optimizer: { kind: optimizer.constructor.name, steps, groups, spans: spansOf(trained) }, scaler: scaler?.state() ?? null, scheduleSteps: schedule?.steps ?? null };
  return toSafetensors(named, { state: JSON.stringify(state) });
}

/**
 * Goes on from what {@link encodeState} made at any number of ranks: the optimizer's state is put together from the parts that lie in this rank's.
 * @param files one after another, the first with the model: no more than one is in memory
 * @throws MusterError INVALID_ARGUMENT and TensorError for the state of another model or optimizer
 */
export async function restoreState(trained: TrainedShard, files: AsyncIterable<Uint8Array>): Promise<Progress> {
  const { model, optimizer, scaler, schedule } = trained;
  const spans = spansOf(trained);
  const ofOptimizer: Record<string, Tensor>[] = spans.map(() => ({}));
  let first: State | null = null;
  for await (const file of files) {
    const { tensors, metadata } = fromSafetensors(file);
    const state = JSON.parse(metadata['state'] ?? '') as State;
    checkOptimizer(trained, state);
    if (first === null) model.loadStateDict(Object.fromEntries(Object.entries(tensors).flatMap(([key, tensor]) => (key.startsWith(MODEL) ? [[key.slice(MODEL.length), tensor]] : []))));
    first ??= state;
    for (const [key, tensor] of Object.entries(tensors)) {
      if (key.startsWith(OPTIMIZER)) {
        const [parameter = '', name = ''] = key.slice(OPTIMIZER.length).split('.');
        const index = Number(parameter);
        const whole = (ofOptimizer[index]![name] ??= zeros([spans[index]!.end - spans[index]!.start]).keep());
        copyShared(whole, spans[index]!, tensor, state.optimizer.spans[index]!);
      }
      tensor.dispose();
    }
  }
  optimizer.loadState({ ...first!.optimizer, tensors: ofOptimizer } as ReturnType<typeof optimizer.state>);
  for (const tensors of ofOptimizer) for (const tensor of Object.values(tensors)) tensor.dispose();
  if (scaler && first!.scaler) scaler.restore(first!.scaler as ReturnType<GradScaler['state']>);
  if (schedule && first!.scheduleSteps !== null) schedule.steps = first!.scheduleSteps;
  return { step: first!.step, examples: first!.examples, records: first!.records };
}

function checkOptimizer(trained: TrainedShard, { optimizer: { kind, spans } }: State): void {
  const { constructor: { name }, parameters } = trained.optimizer;
  const own = spansOf(trained);
  const isSame = kind === name && spans.length === own.length && spans.every(({ size }, index) => size === own[index]!.size);
  if (!isSame) throw invalidArgument(`the checkpoint of a training with ${kind} of ${spans.length} parameters`, `one with ${name} of ${parameters.length} parameters of the same sizes, as here: name another storage, or remove it`);
}

/** Copies what lies in both parts. */
function copyShared(target: Tensor, to: ShardSpan, source: Tensor, from: ShardSpan): void {
  const shared = overlap(to, from);
  if (shared === null) return;
  tidy(() => (target.memory() as Float32Array).set(source.reshape(-1).slice(0, shared.start - from.start, shared.end - from.start).memory() as Float32Array, shared.start - to.start));
}
