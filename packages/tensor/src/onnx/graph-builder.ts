/**
 * The graph of a model while it is made: names for what the traces hold, and nodes. Which nodes an operation becomes is lowering.ts's.
 *
 * The runs of a model are gone through side by side. Where they agree, a number is a constant; where they do not, it must follow from the dynamic sizes.
 */
import { isFloating, type Dtype } from '../dtype.js';
import { tensorError } from '../failure.js';
import type { Shape } from '../shape.js';
import { isSameShape } from '../shape.js';
import { copyOf, denseOf, type Tensor } from '../tensor.js';
import { tensor } from '../factories.js';
import { DATA_TYPES, type Attribute, type OnnxNode } from './model-file.js';
import { formulaOf, isSame, type DynamicSize } from './sizes.js';
import { placeOf, type Source, type Trace, type TracedInput, type TracedOperation } from './trace.js';

/** What a model's inputs and outputs are called, and which of its tensors have a name. */
export interface Names {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly state: ReadonlyMap<Tensor, string>;
}

/** What arithmetic in a dtype is done in: 16 bits in f32, as here; truth values as integers. ONNX Runtime's CPU has kernels for all of these. */
export function computedIn(dtype: Dtype): Dtype {
  return isFloating(dtype) ? 'f32' : dtype === 'bool' ? 'i32' : dtype;
}

function isEqual(first: Tensor, second: Tensor): boolean {
  if (first.dtype !== second.dtype || !isSameShape(first.shape, second.shape)) return false;
  const [one, other] = [first, second].map((each) => { const { buffer, byteOffset, byteLength } = denseOf(each).memory(); return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength); });
  return one!.equals(other!);
}

export class GraphBuilder {
  readonly nodes: OnnxNode[] = [];
  readonly initializers = new Map<string, Tensor>();
  readonly #traces: readonly Trace[];
  readonly #sizes: readonly DynamicSize[];
  readonly #names: Names;
  readonly #taken: Set<string>;
  /** Names of what operations made, by their numbers. */
  readonly #results = new Map<number, string>();
  /** Names of what is made once for all: constants, casts, sizes. */
  readonly #once = new Map<string, string>();

  constructor(traces: readonly Trace[], sizes: readonly DynamicSize[], names: Names) {
    this.#traces = traces;
    this.#sizes = sizes;
    this.#names = names;
    this.#taken = new Set([...names.inputs, ...names.outputs]);
  }

  /** The operations that the output depends on, other than those whose results are constants. */
  needed(): number[] {
    const [{ operations, output }] = this.#traces as readonly [Trace];
    const wanted = new Set<number>();
    const want = (source: Source): void => { if (source.kind === 'result' && !this.#isFolded(source.index)) wanted.add(source.index); };
    want(output.source);
    for (let index = operations.length - 1; index >= 0; index--) if (wanted.has(index)) operations[index]!.inputs.forEach(({ source }) => want(source));
    return [...wanted].sort((first, second) => first - second);
  }

  site(index: number): Site {
    return new Site(this, this.#traces.map(({ operations }) => operations[index]!));
  }

  setResult(index: number, name: string): void {
    this.#results.set(index, name);
  }

  /** Gives the output its name. */
  finish(name: string): void {
    const site = new Site(this, this.#traces.map(({ output }) => ({ name: 'forward', path: '', inputs: [output], attributes: null, shape: output.shape, dtype: output.dtype, folded: null })));
    const inner = site.input(0);
    const isMade = this.nodes.some(({ output }) => output === inner);
    if (!isMade) this.nodes.push({ name, opType: 'Identity', inputs: [inner], output: name, attributes: {} });
    const renamed = (each: string): string => (isMade && each === inner ? name : each);
    this.nodes.forEach((node, index) => { this.nodes[index] = { ...node, inputs: node.inputs.map(renamed), output: renamed(node.output) }; });
  }

  /** The name of a value, from what it is in each run. */
  nameOf(values: readonly TracedInput[], site: Site): string {
    const sources = values.map(({ source }) => source);
    const [source] = sources as [Source];
    switch (source.kind) {
      case 'input': return this.#names.inputs[source.index]!;
      case 'state': return this.initializer(source.tensor, source.name);
      case 'result': return this.#results.get(source.index) ?? this.#folded(source.index);
      case 'constant': {
        const tensors = sources.map((each) => (each as typeof source).tensor);
        if (!tensors.every((each) => isEqual(each, tensors[0]!))) site.refuse('one of its inputs is made outside of operations and differs from run to run: it is random, or depends on a dynamic axis in a way that operations do not show');
        return this.constant(tensors[0]!);
      }
    }
  }

  /** A tensor of the model under its name, or any other as a constant. */
  tensorName(tensor: Tensor): string {
    const name = this.#names.state.get(tensor);
    return name === undefined ? this.constant(tensor) : this.initializer(tensor, name);
  }

  initializer(tensor: Tensor, name: string): string {
    return this.once(`state ${name}`, () => {
      const own = this.unique(name);
      this.initializers.set(own, tensor);
      return own;
    });
  }

  /** Small ones are there once. */
  constant(constant: Tensor): string {
    const make = (): string => {
      const name = this.unique('constant');
      this.initializers.set(name, constant);
      return name;
    };
    if (constant.size > 8) return make();
    const { buffer, byteOffset, byteLength } = denseOf(constant).memory();
    return this.once(`constant ${constant.dtype} ${constant.shape.join()} ${Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength).toString('hex')}`, make);
  }

  /** A size as a tensor of one whole number. */
  sizeName({ name, input, dimension }: DynamicSize): string {
    return this.once(`size ${name}`, () => this.node({ name, opType: 'Shape', inputs: [this.#names.inputs[input]!], attributes: { start: dimension, end: dimension + 1 } }));
  }

  formulaOf(values: readonly number[]) {
    return formulaOf(values, this.#sizes);
  }

  cast(name: string, from: Dtype, to: Dtype): string {
    if (from === to) return name;
    const constant = this.initializers.get(name);
    if (constant?.size === 1) return this.constant(copyOf(constant, to));
    return this.once(`cast ${name} ${to}`, () => this.node({ name: `${name}/${to}`, opType: 'Cast', inputs: [name], attributes: { to: DATA_TYPES[to] } }));
  }

  once(key: string, make: () => string): string {
    const known = this.#once.get(key);
    if (known !== undefined) return known;
    const name = make();
    this.#once.set(key, name);
    return name;
  }

  node({ name, ...node }: Omit<OnnxNode, 'output'>): string {
    const output = this.unique(name);
    this.nodes.push({ name: output, ...node, output });
    return output;
  }

  unique(name: string): string {
    let free = name;
    for (let number = 1; this.#taken.has(free); number++) free = `${name}_${number}`;
    this.#taken.add(free);
    return free;
  }

  #isFolded(index: number): boolean {
    const results = this.#traces.map(({ operations }) => operations[index]!.folded);
    return results.every((result) => result !== null && isEqual(result, results[0]!));
  }

  #folded(index: number): string {
    return this.once(`folded ${index}`, () => this.constant(this.#traces[0]!.operations[index]!.folded!));
  }
}

/** One operation of the model, as it was in each run, and the nodes that it becomes. */
export class Site {
  readonly #builder: GraphBuilder;
  readonly #operations: readonly TracedOperation[];

  constructor(builder: GraphBuilder, operations: readonly TracedOperation[]) {
    this.#builder = builder;
    this.#operations = operations;
  }

  get operation(): TracedOperation {
    return this.#operations[0]!;
  }

  /** The dtype of the result. */
  get dtype(): Dtype {
    return this.operation.dtype;
  }

  get inputCount(): number {
    return this.operation.inputs.length;
  }

  inputDtype(index: number): Dtype {
    return this.operation.inputs[index]!.dtype;
  }

  /** Of the example. */
  inputShape(index: number): Shape {
    return this.operation.inputs[index]!.shape;
  }

  /** A dimension of an input in each run. */
  inputSizes(index: number, dimension: number): readonly number[] {
    return this.#operations.map(({ inputs }) => inputs[index]!.shape[dimension]!);
  }

  /** What the operation's attributes say in each run. */
  each<A, T>(read: (attributes: A) => T): readonly T[] {
    return this.#operations.map(({ attributes }) => read(attributes as A));
  }

  /** What they say in all runs. @throws TensorError where they differ */
  same<A, T extends string | number | boolean>(what: string, read: (attributes: A) => T): T {
    const values = this.each(read);
    if (!isSame(values)) this.refuse(`its ${what} depends on a dynamic axis: ${values.join(', ')}`);
    return values[0]!;
  }

  input(index: number): string {
    return this.#builder.nameOf(this.#operations.map(({ inputs }) => inputs[index]!), this);
  }

  /** An input in a dtype. */
  inputIn(index: number, dtype: Dtype): string {
    return this.#builder.cast(this.input(index), this.inputDtype(index), dtype);
  }

  /** What was computed in a dtype, in that of the result. */
  result(name: string, computed: Dtype): string {
    return this.#builder.cast(name, computed, this.dtype);
  }

  tensor(tensor: Tensor): string {
    return this.#builder.tensorName(tensor);
  }

  node(opType: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}): string {
    const { name, path } = this.operation;
    return this.#builder.node({ name: path === '' ? name : `${path}/${name}`, opType, inputs, attributes });
  }

  cast(name: string, from: Dtype, to: Dtype): string {
    return this.#builder.cast(name, from, to);
  }

  number(value: number, dtype: Dtype): string {
    return this.#builder.constant(tensor(value, { dtype }));
  }

  /** Whole numbers in a row. */
  integers(values: readonly number[]): string {
    return this.#builder.constant(tensor(values.map(BigInt), { shape: [values.length], dtype: 'i64' }));
  }

  /** Whole numbers in a row, each as it is in the runs: constants, or sizes that the model finds when it runs. */
  sizes(rows: readonly (readonly number[])[]): string {
    if (rows.every(isSame)) return this.integers(rows.map(([value]) => value!));
    const parts = rows.map((values) => (isSame(values) ? this.integers([values[0]!]) : this.#size(values)));
    return parts.length === 1 ? parts[0]! : this.node('Concat', parts, { axis: 0 });
  }

  refuse(rule: string): never {
    throw tensorError(`exportOnnx of ${placeOf(this.operation)}`, this.operation.inputs, rule);
  }

  #size(values: readonly number[]): string {
    const formula = this.#builder.formulaOf(values);
    if (formula === null) this.refuse(`a size of it is ${values.join(', ')} in runs with other sizes of the dynamic axes, and no formula says why`);
    const sizes = formula.of.map((size) => this.#builder.sizeName(size));
    const product = sizes.length === 1 ? sizes[0]! : this.node('Mul', sizes);
    const scaled = formula.factor === 1 ? product : this.node('Mul', [product, this.integers([formula.factor])]);
    return formula.offset === 0 ? scaled : this.node('Add', [scaled, this.integers([formula.offset])]);
  }
}
