/**
 * What a checkpoint holds: files of safetensors, of each part of the model and of each shard of its optimizer's state one. What lies in a file is said by the names of
 * parameters and by which parts of them it has, so that any other mesh finds its own parts there.
 */
import { defaultGenerator, fromSafetensors, toSafetensors, zeros, type GradScaler, type nn, type optim, type Tensor } from '@muster/tensor';
import { invalidArgument } from './failure.js';
import type { MeshShape } from './machine/device-mesh.js';
import { isComparable, partOf, wholeGrid, type ParameterPart } from './machine/parameter-part.js';
import { describeMesh } from './parallel/mesh.js';
import { copyShared } from './parallel/parts.js';
import type { StepRecord } from './training.js';

/** What is being trained. */
export interface Trained {
  readonly model: nn.Module;
  readonly optimizer: optim.Optimizer;
  readonly scaler?: GradScaler;
  readonly schedule?: optim.LRScheduler;
}

/** What the optimizer steps at one rank: of which parameter, and which of its elements. */
export interface Stepped {
  readonly name: string;
  readonly part: ParameterPart;
}

/** What is trained at one rank. */
export interface TrainedPart extends Trained {
  readonly mesh: MeshShape;
  /** Of the model's tensors those that are parts. */
  readonly parts: ReadonlyMap<string, ParameterPart>;
  /** By the optimizer's parameters, in their order. */
  readonly stepped: readonly Stepped[];
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
  readonly mesh: MeshShape;
  /** Of the model's tensors in this file, those that are parts. */
  readonly parts: Readonly<Record<string, ParameterPart>>;
  readonly optimizer: {
    /** Its class. */
    readonly kind: string;
    readonly groups: readonly object[];
    /** By the names of parameters: how often they were stepped, and which elements' state is here. */
    readonly parameters: Readonly<Record<string, { readonly steps: number; readonly part: ParameterPart }>>;
  };
  readonly scaler: object | null;
  readonly scheduleSteps: number | null;
  /** How far the rank's random numbers were. */
  readonly randomPosition: number;
}

const MODEL = 'model.';
const OPTIMIZER = 'optimizer.';
/** The state's name, and the parameter's. */
const OPTIMIZER_KEY = /^optimizer\.([^.]+)\.(.+)$/;

/** One rank's file. */
export function encodeState(trained: TrainedPart, progress: Progress, { hasModel }: { readonly hasModel: boolean }): Uint8Array {
  const { model, optimizer, scaler, schedule, mesh, parts, stepped } = trained;
  const { steps, groups, tensors } = optimizer.state();
  const named: Record<string, Tensor> = {};
  if (hasModel) for (const [name, tensor] of Object.entries(model.stateDict())) named[MODEL + name] = tensor;
  tensors.forEach((state, index) => {
    for (const [name, tensor] of Object.entries(state)) named[`${OPTIMIZER}${name}.${stepped[index]!.name}`] = tensor;
  });
  const parameters = Object.fromEntries(stepped.map(({ name, part }, index) => [name, { steps: steps[index]!, part }]));
  const state: State = {
    ...progress, mesh, parts: Object.fromEntries(parts), optimizer: { kind: optimizer.constructor.name, groups, parameters }, scaler: scaler?.state() ?? null,
    scheduleSteps: schedule?.steps ?? null, randomPosition: defaultGenerator.position,
  };
  return toSafetensors(named, { state: JSON.stringify(state) });
}

/** Puts one rank's model and the state of its optimizer together, file by file. */
class Restoring {
  readonly #trained: TrainedPart;
  readonly #ofModel: Record<string, Tensor> = {};
  readonly #ofOptimizer: readonly Record<string, Tensor>[];
  readonly #steps: (number | undefined)[];
  #randomPosition = 0;
  #first: State | null = null;

  constructor(trained: TrainedPart) {
    this.#trained = trained;
    this.#ofOptimizer = trained.stepped.map(() => ({}));
    this.#steps = trained.stepped.map(() => undefined);
  }

  take(file: Uint8Array): void {
    const { tensors, metadata } = fromSafetensors(file);
    const state = JSON.parse(metadata['state'] ?? '') as State;
    this.#first ??= state;
    this.#randomPosition = Math.max(this.#randomPosition, state.randomPosition); // so none is drawn again, whatever ranks there were
    this.#takeModel(tensors, state);
    this.#takeOptimizer(tensors, state);
    for (const tensor of Object.values(tensors)) tensor.dispose();
  }

  /** @throws MusterError INVALID_ARGUMENT and TensorError where something is lacking */
  finish(): Progress {
    const { model, optimizer, scaler, schedule, stepped } = this.#trained;
    const { step, examples, records, optimizer: { kind, groups }, ...first } = this.#first!;
    const lacking = this.#steps.findIndex((steps) => steps === undefined);
    if (kind !== optimizer.constructor.name || lacking >= 0) throw this.#mismatch(lacking >= 0 ? `parameter ${stepped[lacking]!.name}, which it lacks` : optimizer.constructor.name);
    model.loadStateDict(this.#ofModel);
    optimizer.loadState({ steps: this.#steps, groups, tensors: this.#ofOptimizer } as unknown as ReturnType<typeof optimizer.state>);
    if (scaler && first.scaler) scaler.restore(first.scaler as ReturnType<GradScaler['state']>);
    if (schedule && first.scheduleSteps !== null) schedule.steps = first.scheduleSteps;
    defaultGenerator.position = this.#randomPosition;
    for (const tensors of [this.#ofModel, ...this.#ofOptimizer]) for (const tensor of Object.values(tensors)) tensor.dispose();
    return { step, examples, records };
  }

  /** Of a stage of a pipeline others have the rest; a model that is in one piece must know all names. */
  #takeModel(tensors: Readonly<Record<string, Tensor>>, { parts }: State): void {
    const { model, mesh, parts: own } = this.#trained;
    const state = model.stateDict();
    for (const [key, tensor] of Object.entries(tensors)) {
      if (!key.startsWith(MODEL)) continue;
      const name = key.slice(MODEL.length);
      const target = state[name];
      if (target === undefined && mesh.pipeline > 1) continue;
      const to = own.get(name) ?? partOf(wholeGrid((target ?? tensor).size));
      const from = parts[name] ?? partOf(wholeGrid(tensor.size));
      if (!isComparable(to, from)) throw this.#mismatch(`tensors of the same sizes, among them ${name}`);
      this.#ofModel[name] ??= zeros((target ?? tensor).shape, { dtype: tensor.dtype }).keep();
      copyShared({ tensor: this.#ofModel[name], part: to }, { tensor, part: from });
    }
  }

  #takeOptimizer(tensors: Readonly<Record<string, Tensor>>, { optimizer: { parameters } }: State): void {
    const index = new Map(this.#trained.stepped.map(({ name }, each) => [name, each]));
    for (const [name, { steps, part }] of Object.entries(parameters)) {
      const own = index.get(name);
      if (own === undefined) continue;
      if (!isComparable(this.#trained.stepped[own]!.part, part)) throw this.#mismatch(`parameters of the same sizes, among them ${name}`);
      this.#steps[own] = steps;
    }
    for (const [key, tensor] of Object.entries(tensors)) {
      const [, state, name] = OPTIMIZER_KEY.exec(key) ?? [];
      const own = index.get(name ?? '');
      if (own === undefined) continue;
      const { part } = this.#trained.stepped[own]!;
      const whole = (this.#ofOptimizer[own]![state!] ??= zeros([part.span.end - part.span.start]).keep());
      copyShared({ tensor: whole, part }, { tensor, part: parameters[name!]!.part });
    }
  }

  #mismatch(want: string): Error {
    const { optimizer: { kind, parameters }, mesh } = this.#first!;
    const { optimizer, stepped } = this.#trained;
    return invalidArgument(`the checkpoint of a training with ${kind} of ${Object.keys(parameters).length} parameters on the mesh ${describeMesh(mesh)}`,
      `one with ${want}, for ${optimizer.constructor.name} of ${stepped.length} parameters on the mesh ${describeMesh(this.#trained.mesh)}: name another storage, or remove it`);
  }
}

/**
 * Goes on from what {@link encodeState} made on any mesh.
 * @param files one after another: no more than one is in memory
 * @throws MusterError INVALID_ARGUMENT and TensorError for the state of another model or optimizer
 */
export async function restoreState(trained: TrainedPart, files: AsyncIterable<Uint8Array>): Promise<Progress> {
  const restoring = new Restoring(trained);
  for await (const file of files) restoring.take(file);
  return restoring.finish();
}
