/** What layers and models are: parameters, buffers and other modules in fields, found by their names. */
import { tensorError, invalid } from '../failure.js';
import { noGrad } from '../autograd/graph.js';
import { outsideScopes } from '../scope.js';
import { isSameShape } from '../shape.js';
import type { Device, DeviceName } from '../device/device.js';
import { deviceNamed } from '../device/devices.js';
import { isDtype, isFloating, type Dtype } from '../dtype.js';
import { checkUsable, copyOf, placedOn, Tensor } from '../tensor.js';

/** Tensors by their names in a state: PyTorch's, so that weights go back and forth. */
export type StateDict = Readonly<Record<string, Tensor>>;

/** Makes a tensor a parameter: a leaf that requires a gradient and outlives scopes. @returns it */
export function parameter(tensor: Tensor): Tensor {
  tensor.requiresGrad = true;
  return tensor.keep();
}

/** runningMean -> running_mean */
const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/**
 * A part of a model. Tensors, modules and arrays of modules in its public fields are its own; tensors that require gradients are its parameters, the others buffers.
 * In a state a field is named in snake_case, as in PyTorch; parts are joined by dots.
 *
 * @example
 * class Net extends nn.Module {
 *   readonly hidden = new nn.Linear(784, 128);
 *   readonly output = new nn.Linear(128, 10);
 *   forward(x: Tensor): Tensor { return this.output.forward(this.hidden.forward(x).relu()); }
 * }
 */
export abstract class Module {
  /** Whether dropout drops and batch normalisation learns: {@link train} and {@link eval} set it. */
  training = true;

  abstract forward(...inputs: Tensor[]): Tensor;

  /** Modules in fields, and in arrays in fields, by their names in a state. */
  *children(): Generator<readonly [string, Module]> {
    for (const [name, value] of Object.entries(this)) {
      if (value instanceof Module) yield [snakeCase(name), value];
      else if (Array.isArray(value)) for (const [index, each] of value.entries()) if (each instanceof Module) yield [`${snakeCase(name)}.${index}`, each];
    }
  }

  /** All tensors, of all parts, by their names in a state. */
  *namedTensors(prefix = ''): Generator<readonly [string, Tensor]> {
    for (const [name, value] of Object.entries(this)) if (value instanceof Tensor) yield [prefix + snakeCase(name), value];
    for (const [name, child] of this.children()) yield* child.namedTensors(`${prefix}${name}.`);
  }

  /** Each parameter once, by its first name. */
  *namedParameters(): Generator<readonly [string, Tensor]> {
    const seen = new Set<Tensor>();
    for (const [name, tensor] of this.namedTensors()) {
      if (!tensor.requiresGrad || seen.has(tensor)) continue;
      seen.add(tensor);
      yield [name, tensor];
    }
  }

  parameters(): Tensor[] {
    return Array.from(this.namedParameters(), ([, tensor]) => tensor);
  }

  /** How many numbers its parameters are. */
  get parameterCount(): number {
    return this.parameters().reduce((total, { size }) => total + size, 0);
  }

  /** For training, or with false for use. @returns this */
  train(training = true): this {
    this.training = training;
    for (const [, child] of this.children()) child.train(training);
    return this;
  }

  eval(): this {
    return this.train(false);
  }

  /** Takes all gradients away. */
  zeroGrad(): void {
    for (const each of this.parameters()) each.zeroGrad();
  }

  /** The tensors themselves, not copies. */
  stateDict(): StateDict {
    return Object.fromEntries(this.namedTensors());
  }

  /** Copies a state into the tensors. @throws TensorError for names that are missing or unknown, and for other shapes; then nothing was copied */
  loadStateDict(state: StateDict): void {
    const own = this.stateDict();
    const missing = Object.keys(own).filter((name) => !(name in state));
    const unknown = Object.keys(state).filter((name) => !(name in own));
    if (missing.length + unknown.length > 0) throw invalid('a state of a module', `of its tensors alone; missing: ${missing.join(', ') || 'none'}; unknown: ${unknown.join(', ') || 'none'}`);
    for (const [name, tensor] of Object.entries(own)) {
      checkUsable(`loadStateDict of '${name}'`, state[name]!);
      if (!isSameShape(tensor.shape, state[name]!.shape)) throw tensorError(`loadStateDict of '${name}'`, [tensor, state[name]!], 'the shapes must be equal');
    }
    for (const [name, tensor] of Object.entries(own)) {
      const given = state[name]!;
      const placed = given.device === tensor.device ? given : placedOn(given, tensor.device);
      tensor.device.map('copy', tensor, placed);
      if (placed !== given) placed.dispose();
      tensor.storage.version++;
    }
  }

  /**
   * Has floating-point parameters and buffers in another dtype, or all of them on another device ('cpu', 'cuda', 'cuda:1'), in new tensors, and ends the old ones: before
   * an optimizer is made.
   * @returns this. @throws MusterError INVALID_ARGUMENT for a device that is not there
   */
  to(where: Dtype | DeviceName): this {
    const moved = new Map<Tensor, Tensor>();
    outsideScopes(() => noGrad(() => move(this, isDtype(where) ? where : deviceNamed(where), moved)));
    for (const before of moved.keys()) before.dispose();
    return this;
  }
}

/** A tensor that is there in several places stays one. */
function move(module: Module, where: Dtype | Device, moved: Map<Tensor, Tensor>): void {
  for (const [name, value] of Object.entries(module)) {
    if (!(value instanceof Tensor) || isAt(value, where)) continue;
    const copy = moved.get(value) ?? (typeof where === 'string' ? copyOf(value, where) : placedOn(value, where)).keep();
    copy.requiresGrad = value.requiresGrad;
    moved.set(value, copy);
    (module as unknown as Record<string, unknown>)[name] = copy;
  }
  for (const [, child] of module.children()) move(child, where, moved);
}

function isAt(tensor: Tensor, where: Dtype | Device): boolean {
  return typeof where === 'string' ? !isFloating(tensor.dtype) || tensor.dtype === where : tensor.device === where;
}
