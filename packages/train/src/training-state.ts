/** What a checkpoint holds of one rank, as one file of safetensors. */
import type { StepRecord } from './training.js';
import { fromSafetensors, toSafetensors, type GradScaler, type nn, type optim, type Tensor } from '@muster/tensor';

/** What is being trained. */
export interface Trained {
  readonly model: nn.Module;
  readonly optimizer: optim.Optimizer;
  readonly scaler?: GradScaler;
  readonly schedule?: optim.LRScheduler;
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
  readonly optimizer: { readonly steps: readonly number[]; readonly groups: readonly object[] };
  readonly scaler: object | null;
  readonly scheduleSteps: number | null;
}

const MODEL = 'model.';
const OPTIMIZER = 'optimizer.';

/** Rank 0's file: the model, the optimizer and the position. */
export function encodeState({ model, optimizer, scaler, schedule }: Trained, progress: Progress): Uint8Array {
  const { steps, groups, tensors } = optimizer.state();
  const named: Record<string, Tensor> = {};
  for (const [name, tensor] of Object.entries(model.stateDict())) named[MODEL + name] = tensor;
  tensors.forEach((state, parameter) => {
    for (const [name, tensor] of Object.entries(state)) named[`${OPTIMIZER}${parameter}.${name}`] = tensor;
  });
  const state: State = { ...progress, optimizer: { steps, groups }, scaler: scaler?.state() ?? null, scheduleSteps: schedule?.steps ?? null };
  return toSafetensors(named, { state: JSON.stringify(state) });
}

/**
 * Goes on from what {@link encodeState} made.
 * @throws MusterError INVALID_ARGUMENT and TensorError for the state of another model or optimizer
 */
export function restoreState({ model, optimizer, scaler, schedule }: Trained, file: Uint8Array): Progress {
  const { tensors, metadata } = fromSafetensors(file);
  const state = JSON.parse(metadata['state'] ?? '') as State;
  const ofModel: Record<string, Tensor> = {};
  const ofOptimizer: Record<string, Tensor>[] = state.optimizer.steps.map(() => ({}));
  for (const [key, tensor] of Object.entries(tensors)) {
    if (key.startsWith(MODEL)) ofModel[key.slice(MODEL.length)] = tensor;
    else {
      const [parameter = '', name = ''] = key.slice(OPTIMIZER.length).split('.');
      ofOptimizer[Number(parameter)]![name] = tensor;
    }
  }
  model.loadStateDict(ofModel);
  optimizer.loadState({ ...state.optimizer, tensors: ofOptimizer } as ReturnType<typeof optimizer.state>);
  if (scaler && state.scaler) scaler.restore(state.scaler as ReturnType<GradScaler['state']>);
  if (schedule && state.scheduleSteps !== null) schedule.steps = state.scheduleSteps;
  for (const tensor of Object.values(tensors)) tensor.dispose();
  return { step: state.step, examples: state.examples, records: state.records };
}
