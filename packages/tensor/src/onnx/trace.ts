/**
 * What a model does, seen from outside: the operations of one run of it, in order, with where each of their inputs comes from.
 *
 * A trace knows nothing of ONNX. What does not depend on the model's inputs is constant and kept with its numbers.
 */
import { noGrad, withTracer } from '../autograd/graph.js';
import type { Dtype } from '../dtype.js';
import { invalid, tensorError } from '../failure.js';
import type { Module } from '../nn/module.js';
import type { Shape } from '../shape.js';
import { copyOf, Tensor } from '../tensor.js';

/** Where a tensor comes from. */
export type Source =
  | { readonly kind: 'input'; readonly index: number }
  /** A tensor of the model, by its name in the state. */
  | { readonly kind: 'state'; readonly name: string; readonly tensor: Tensor }
  /** A tensor that no operation made: a copy of it. */
  | { readonly kind: 'constant'; readonly tensor: Tensor }
  /** What an operation made. */
  | { readonly kind: 'result'; readonly index: number };

/** One operation that was applied. */
export interface TracedOperation {
  readonly name: string;
  /** Of the module whose forward() applied it; '' is the model itself. */
  readonly path: string;
  readonly inputs: readonly TracedInput[];
  readonly attributes: unknown;
  readonly shape: Shape;
  readonly dtype: Dtype;
  /** A copy of the result, where that does not depend on the model's inputs. */
  readonly folded: Tensor | null;
}

export interface TracedInput {
  readonly source: Source;
  readonly shape: Shape;
  readonly dtype: Dtype;
}

export interface Trace {
  readonly inputs: readonly Tensor[];
  readonly operations: readonly TracedOperation[];
  readonly output: TracedInput;
}

/** Where an operation stands, for errors. */
export function placeOf({ name, path }: { readonly name: string; readonly path: string }): string {
  return `${name} in ${path === '' ? 'the model itself' : `'${path}'`}`;
}

/** One run that is being watched. */
class Recorder {
  readonly operations: TracedOperation[] = [];
  readonly #sources = new Map<Tensor, Source>();
  /** Of the modules whose forward() runs, the innermost last. */
  readonly #paths: string[] = [''];

  constructor(module: Module, inputs: readonly Tensor[]) {
    for (const [name, tensor] of module.namedTensors()) if (!this.#sources.has(tensor)) this.#sources.set(tensor, { kind: 'state', name, tensor });
    for (const [index, tensor] of inputs.entries()) this.#sources.set(tensor, { kind: 'input', index });
  }

  get path(): string {
    return this.#paths.at(-1)!;
  }

  within<T>(path: string, body: () => T): T {
    this.#paths.push(path);
    try {
      return body();
    } finally {
      this.#paths.pop();
    }
  }

  applied(name: string, inputs: readonly Tensor[], attributes: unknown, result: Tensor): void {
    const traced = inputs.map((input) => this.seen(input));
    const isConstant = traced.every(({ source }) => !this.#depends(source));
    const { shape, dtype } = result;
    this.operations.push({ name, path: this.path, inputs: traced, attributes, shape, dtype, folded: isConstant ? copyOf(result) : null });
    this.#sources.set(result, { kind: 'result', index: this.operations.length - 1 });
  }

  read(tensor: Tensor): void {
    const { source } = this.seen(tensor);
    if (this.#depends(source)) throw tensorError(`exportOnnx of a forward() in '${this.path}'`, [tensor], 'it reads numbers that depend on the input, and what it does with them would be that of the example alone: use operations, as where()');
  }

  seen(tensor: Tensor): TracedInput {
    let source = this.#sources.get(tensor);
    if (source === undefined) this.#sources.set(tensor, source = { kind: 'constant', tensor: copyOf(tensor) });
    return { source, shape: tensor.shape, dtype: tensor.dtype };
  }

  /** Whether it depends on the model's inputs. */
  #depends(source: Source): boolean {
    return source.kind === 'input' || (source.kind === 'result' && this.operations[source.index]!.folded === null);
  }
}

/** Has the forward() of each part of a model say where it is, while `body` runs. */
function withPaths<T>(module: Module, recorder: Recorder, body: () => T): T {
  const watched = new Map<Module, PropertyDescriptor | undefined>();
  const watch = (part: Module, path: string): void => {
    if (watched.has(part)) return;
    watched.set(part, Object.getOwnPropertyDescriptor(part, 'forward'));
    const forward = part.forward.bind(part);
    Object.defineProperty(part, 'forward', { configurable: true, value: (...inputs: Tensor[]) => recorder.within(path, () => forward(...inputs)) });
    for (const [name, child] of part.children()) watch(child, path === '' ? name : `${path}.${name}`);
  };
  try {
    watch(module, '');
    return body();
  } finally {
    for (const [part, own] of watched) {
      delete (part as Partial<Module>).forward;
      if (own !== undefined) Object.defineProperty(part, 'forward', own);
    }
  }
}

/** Runs `body` with all parts of a model in use, not in training, and puts each back. */
export function inUse<T>(module: Module, body: () => T): T {
  const before = new Map<Module, boolean>();
  const note = (part: Module): void => {
    before.set(part, part.training);
    for (const [, child] of part.children()) note(child);
  };
  note(module);
  try {
    module.eval();
    return body();
  } finally {
    for (const [part, training] of before) part.training = training;
  }
}

/** One run of a model. What it copies belongs to the scope around it. */
export function traceOf(module: Module, inputs: readonly Tensor[]): Trace {
  const recorder = new Recorder(module, inputs);
  const output: unknown = withPaths(module, recorder, () => withTracer(recorder, () => noGrad(() => module.forward(...inputs))));
  if (!(output instanceof Tensor)) throw invalid(`a model whose forward() returns ${output === null ? 'null' : typeof output}`, 'a module whose forward() returns a tensor');
  return { inputs, operations: recorder.operations, output: recorder.seen(output) };
}
