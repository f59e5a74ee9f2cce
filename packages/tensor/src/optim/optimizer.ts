/** What optimizers share: groups of parameters with options of their own, their state, and how parameters of 16 bits are stepped. */
import { checkNames, invalid, tensorError } from '../failure.js';
import { outsideScopes } from '../scope.js';
import { checkUsable, copyOf, filled, placedOn, type Tensor } from '../tensor.js';
import type { Device } from '../device/device.js';
import { byDevice, steppable } from './memory.js';

/** Parameters that are stepped alike. Options that are left out are the optimizer's. */
export type ParameterGroup<Options> = { readonly parameters: readonly Tensor[] } & Partial<Options>;

/** Of a checkpoint: what {@link Optimizer.loadState} takes. Parameters are numbered in the order of the groups. */
export interface OptimizerState<Options> {
  /** How often each parameter was stepped. */
  readonly steps: readonly number[];
  readonly groups: readonly Options[];
  /** [parameter][name] */
  readonly tensors: readonly Readonly<Record<string, Tensor>>[];
}

/** A learning rate is what every group has, and what schedules change. */
export interface OptimizerOptions {
  learningRate: number;
}

export interface Group<Options> {
  readonly parameters: readonly Tensor[];
  readonly options: Options;
}

/**
 * Steps parameters along their gradients. Parameters of 16 bits have a master copy in f32, which is what is stepped, and are its rounding.
 */
export abstract class Optimizer<Options extends OptimizerOptions = OptimizerOptions> {
  #groups: readonly Group<Options>[];
  /** How often each parameter was stepped. */
  readonly #steps = new Map<Tensor, number>();
  readonly #state = new Map<Tensor, Map<string, Tensor>>();

  /** @param options in the place of defaults. @throws MusterError INVALID_ARGUMENT, TensorError */
  constructor(parameters: Iterable<Tensor> | readonly ParameterGroup<Options>[], defaults: Options, options: Partial<Options>) {
    const given = [...parameters as Iterable<Tensor | ParameterGroup<Options>>];
    if (given.length === 0) throw invalid('an optimizer of no parameters', 'given some');
    const groups = given.every((each): each is ParameterGroup<Options> => 'parameters' in each && Array.isArray(each.parameters)) ? given : [{ parameters: given as Tensor[] }];
    this.#groups = groups.map(({ parameters: own, ...others }) => ({ parameters: [...own as readonly Tensor[]], options: { ...defaults, ...options, ...others } }));
    const seen = new Set<Tensor>();
    for (const parameter of this.parameters) {
      if (!parameter.isLeaf || !parameter.requiresGrad) throw tensorError('an optimizer', [parameter], 'it takes leaves that require gradients');
      if (seen.has(parameter)) throw tensorError('an optimizer', [parameter], 'a parameter is there twice');
      seen.add(parameter);
    }
    for (const { options: all } of this.groups) {
      checkNames('an optimizer', all, Object.keys(defaults));
      this.check(all);
    }
  }

  get groups(): readonly Group<Options>[] {
    return this.#groups;
  }

  /** All, in the order of the groups. */
  get parameters(): readonly Tensor[] {
    return this.groups.flatMap(({ parameters }) => parameters);
  }

  /**
   * Has it step other leaves in the place of its parameters, before its first step: parts of them, where processes step a part each. State is kept of what is stepped.
   * @throws MusterError INVALID_ARGUMENT when it has stepped
   */
  replaceParameters(replacement: (parameter: Tensor) => Tensor): void {
    if (this.#steps.size > 0) throw invalid('an optimizer that has stepped', 'one that has not when its parameters are replaced');
    this.#groups = this.#groups.map(({ parameters, options }) => ({ parameters: parameters.map(replacement), options }));
  }

  /** One step of every parameter that has a gradient. */
  step(): void {
    outsideScopes(() => {
      for (const { parameters, options } of this.groups) {
        const ready = parameters.filter(({ grad }) => grad !== null);
        for (const [step, together] of this.#countSteps(ready)) {
          for (const [device, own] of byDevice(together)) this.stepGroup(device, own, options, step);
        }
        for (const { storage } of ready) storage.version++;
      }
    });
  }

  /** Takes all gradients away. */
  zeroGrad(): void {
    for (const parameter of this.parameters) parameter.zeroGrad();
  }

  /** What a checkpoint keeps: views of the state, which go on changing. */
  state(): OptimizerState<Options> {
    return {
      steps: this.parameters.map((parameter) => this.#steps.get(parameter) ?? 0),
      groups: this.groups.map(({ options }) => ({ ...options })),
      tensors: this.parameters.map((parameter) => Object.fromEntries(this.#state.get(parameter) ?? [])),
    };
  }

  /** Goes on from a checkpoint. Copies the tensors. @throws TensorError for those of other shapes */
  loadState(state: OptimizerState<Options>): void {
    const { parameters } = this;
    if (state.groups.length !== this.groups.length || state.tensors.length !== parameters.length || state.steps.length !== parameters.length) throw invalid('the state of an optimizer', `of ${this.groups.length} groups and ${parameters.length} parameters`);
    state.steps.forEach((step, index) => this.#steps.set(parameters[index]!, step));
    state.groups.forEach((options, index) => Object.assign(this.groups[index]!.options, options));
    outsideScopes(() => state.tensors.forEach((tensors, index) => {
      const parameter = parameters[index]!;
      for (const [name, tensor] of Object.entries(tensors)) {
        checkUsable('loadState', tensor);
        if (tensor.size !== parameter.size || tensor.dtype !== 'f32') throw tensorError('loadState', [parameter, tensor], `the state '${name}' of parameter ${index} must be f32 of its shape`);
        this.#stateOf(parameter).set(name, placedOn(tensor, parameter.device).keep());
      }
    }));
  }

  /** @throws MusterError INVALID_ARGUMENT for options that cannot be stepped with */
  protected abstract check(options: Options): void;
  /** Steps parameters of one device that have gradients. @param step the number of this step, of each of them; the first is 1 */
  protected abstract stepGroup(device: Device, parameters: readonly Tensor[], options: Options, step: number): void;

  /** A tensor of the parameter's state, zeros at first. */
  protected memoryOf(parameter: Tensor, name: string): Tensor {
    const state = this.#stateOf(parameter);
    let tensor = state.get(name);
    if (tensor === undefined) state.set(name, tensor = filled(parameter.shape, 0, 'f32', parameter.device).keep());
    return tensor;
  }

  /** What is stepped, f32, and what gets its rounding. */
  protected steppedOf(parameter: Tensor): { readonly weights: Tensor; readonly gradient: Tensor; readonly copy: Tensor | null } {
    const own = steppable(parameter);
    const gradient = steppable(parameter.grad!);
    if (gradient.device !== own.device) throw tensorError('an optimizer', [own, gradient], `the parameter is on ${own.device.name}, and its gradient on ${gradient.device.name}`);
    if (own.dtype === 'f32') return { weights: own, gradient, copy: null };
    const state = this.#stateOf(parameter);
    if (!state.has('master')) state.set('master', copyOf(parameter, 'f32').keep());
    return { weights: state.get('master')!, gradient, copy: own };
  }

  /** Counts a step of each, and puts together those that were stepped as often. */
  #countSteps(parameters: readonly Tensor[]): Map<number, Tensor[]> {
    const together = new Map<number, Tensor[]>();
    for (const parameter of parameters) {
      const step = (this.#steps.get(parameter) ?? 0) + 1;
      this.#steps.set(parameter, step);
      const others = together.get(step);
      if (others === undefined) together.set(step, [parameter]);
      else others.push(parameter);
    }
    return together;
  }

  #stateOf(parameter: Tensor): Map<string, Tensor> {
    let state = this.#state.get(parameter);
    if (state === undefined) this.#state.set(parameter, state = new Map());
    return state;
  }
}

/** @throws MusterError INVALID_ARGUMENT */
export function checkOption(name: string, value: number, isValid: boolean, want: string): void {
  if (!isValid) throw invalid(`a ${name} of ${value}`, want);
}
