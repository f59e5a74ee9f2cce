/**
 * The graph of what was computed: each operation on tensors that require gradients leaves a node behind, with edges to what made its inputs and with the
 * tensors that its backward pass needs. Nodes are numbered as they are made, so every edge leads to a smaller number.
 */
import { autocastInputs, type AutocastRule } from '../amp/policy.js';
import type { Dtype } from '../dtype.js';
import { refusedBy, synchronous, tensorError } from '../failure.js';
import type { Shape } from '../shape.js';
import { viewOf, type GradientHook, type Tensor } from '../tensor.js';

/** What an operation is: one row of the table that operations/ makes up. */
export interface Operation<Attributes> {
  /** As users call it. */
  readonly name: string;
  /** In which dtype it computes under autocast; without one, in that of its inputs. */
  readonly autocast?: AutocastRule;
  /** Checks shapes and dtypes, and computes. What it calls is not recorded. @throws TensorError */
  forward(context: Context, inputs: readonly Tensor[], attributes: Attributes): Tensor;
  /**
   * From the gradient of the result those of the inputs, in their order; null for what `context.wants` does not want, and for what nothing flows to. Each has its input's shape
   * and dtype, and may be the gradient itself or a view of it.
   */
  backward(context: SavedContext, gradient: Tensor, attributes: Attributes): readonly (Tensor | null)[];
  /**
   * Of an operation that passes some elements of its one input on: adds their gradient to those of `sum`, which is the input's so far. Without it whole tensors of zeros would be
   * added up, one for each part that was taken.
   */
  addGradient?(sum: Tensor, gradient: Tensor, attributes: Attributes): void;
}

/** What a forward pass leaves for the backward pass. It outlives scopes: it ends with the backward pass, or when nothing is left that could begin one. */
export interface Context {
  /** Whether there will be a backward pass; else saving does nothing. */
  readonly records: boolean;
  /** Which inputs have a gradient. */
  readonly wants: readonly boolean[];
  /** Keeps inputs and results. */
  save(...tensors: (Tensor | null)[]): void;
  /** Keeps what nobody else has a use for, and takes it over. */
  saveOwn(...tensors: (Tensor | null)[]): void;
}

/** What a backward pass finds. */
export interface SavedContext {
  readonly wants: readonly boolean[];
  readonly inputs: readonly { readonly shape: Shape; readonly dtype: Dtype }[];
  /** What was saved, in order. */
  readonly saved: readonly Tensor[];
}

interface Saved {
  /** A view of what was saved, which keeps its memory. */
  readonly tensor: Tensor | null;
  readonly version: number;
}

const NOT_RECORDED: Context = { records: false, wants: [], save() {}, saveOwn(...tensors) { for (const tensor of tensors) tensor?.dispose(); } };

let lastNumber = 0;
let isRecording = true;

/** Sees what is applied, recorded for a backward pass or not: what a model is exported with. */
export interface Tracer {
  applied(operation: string, inputs: readonly Tensor[], attributes: unknown, result: Tensor): void;
  /** The program looks at the numbers of a tensor, and may go on as they say. */
  read(tensor: Tensor): void;
}

let tracer: Tracer | null = null;

/** Who is watching, if anybody. */
export function currentTracer(): Tracer | null {
  return tracer;
}

/** Has it see what `body` applies. */
export function withTracer<T>(next: Tracer, body: () => T): T {
  const before = tracer;
  tracer = next;
  try {
    return body();
  } finally {
    tracer = before;
  }
}

/** One operation that was done. It counts who could lead a backward pass to it: the tensor that it made, and nodes that took that. */
export class GraphNode implements Context, SavedContext {
  readonly number = ++lastNumber;
  readonly records = true;
  readonly wants: readonly boolean[];
  readonly inputs: readonly { readonly shape: Shape; readonly dtype: Dtype }[];
  /** What made each input that has a gradient: a node, or the leaf itself. */
  readonly edges: readonly (GraphNode | Tensor | null)[];
  /** Called with the gradient of the result. */
  hooks: GradientHook[] | null = null;
  /** Whose `grad` gets the gradient too. */
  retains: Tensor | null = null;
  readonly #operation: Operation<unknown>;
  readonly #attributes: unknown;
  #saved: Saved[] | null = [];
  /** The nodes among the edges. */
  readonly #makers: readonly GraphNode[];
  /** The result that is yet to be made, at first. */
  #references = 1;

  constructor(operation: Operation<unknown>, inputs: readonly Tensor[], attributes: unknown) {
    this.#operation = operation;
    this.#attributes = attributes;
    this.wants = inputs.map((input) => input.requiresGrad);
    this.inputs = inputs.map(({ shape, dtype }) => ({ shape, dtype }));
    this.edges = inputs.map((input) => (input.requiresGrad ? input.node ?? input : null));
    this.#makers = inputs.flatMap(({ node }) => (node === null ? [] : [node]));
    for (const maker of this.#makers) maker.#references++;
  }

  get name(): string {
    return this.#operation.name;
  }

  save(...tensors: (Tensor | null)[]): void {
    this.saveOwn(...tensors.map((tensor) => (tensor === null ? null : viewOf(tensor, tensor.shape, tensor.strides))));
  }

  saveOwn(...tensors: (Tensor | null)[]): void {
    for (const tensor of tensors) this.#saved!.push({ tensor: tensor?.keep() ?? null, version: tensor?.storage.version ?? 0 });
  }

  get saved(): readonly Tensor[] {
    if (this.#saved === null) throw tensorError('backward', [`the graph of ${this.name}`], 'it was gone through before, and freed: pass retainGraph: true to the first backward()');
    return this.#saved.map(({ tensor, version }) => {
      if (tensor !== null && tensor.storage.version !== version) throw tensorError('backward', [tensor], `${this.name} needs it as it was, and it was changed in place since`);
      return tensor as Tensor;
    });
  }

  backward(gradient: Tensor): readonly (Tensor | null)[] {
    return this.#operation.backward(this, gradient, this.#attributes);
  }

  /** Adds to what the one input's gradient is so far. @returns false where the operation has no way to do that */
  addGradient(sum: Tensor, gradient: Tensor): boolean {
    this.#operation.addGradient?.(sum, gradient, this.#attributes);
    return this.#operation.addGradient !== undefined;
  }

  /** The backward pass is over: there will be no other. */
  free(): void {
    for (const { tensor } of this.#saved ?? []) tensor?.dispose();
    this.#saved = null;
  }

  /** What it made is gone. Where that was the last that led here, so is what was saved, and all that only this led to. */
  release(): void {
    const left: GraphNode[] = [this];
    for (const node of left) {  // grows on the way
      if (--node.#references > 0) continue;
      node.free();
      left.push(...node.#makers);
    }
  }
}

/** That all are on one device; a single number of the CPU is anywhere. @throws TensorError */
function checkDevices(name: string, tensors: readonly Tensor[]): void {
  const placed = tensors.filter(({ rank, device }) => rank > 0 || device.name !== 'cpu');
  const [first] = placed;
  const other = placed.find(({ device }) => device !== first?.device);
  if (other !== undefined) throw tensorError(name, tensors, `they are on ${first!.device.name} and ${other.device.name}, and must be on one device: move one with to()`);
}

/** Does an operation, and records it where gradients are wanted. */
export function apply<Attributes>(operation: Operation<Attributes>, given: readonly Tensor[], attributes: Attributes): Tensor {
  for (const tensor of given) {
    if (tensor.isDisposed) throw tensorError(operation.name, given, 'it was disposed of, by itself or with its scope');
    if (tensor.device !== given[0]!.device) checkDevices(operation.name, given);
  }
  const inputs = operation.autocast === undefined ? given : autocastInputs(operation.autocast, given);
  const records = isRecording && inputs.some((input) => input.requiresGrad);
  const before = isRecording;
  isRecording = false;
  try {
    const node = records ? new GraphNode(operation as Operation<unknown>, inputs, attributes) : null;
    const result = forward(operation, node, { given, inputs, attributes });
    result.node = node;
    tracer?.applied(operation.name, inputs, attributes, result);
    return result;
  } finally {
    isRecording = before;
  }
}

interface Call<Attributes> {
  readonly given: readonly Tensor[];
  /** Under autocast, casts of them. */
  readonly inputs: readonly Tensor[];
  readonly attributes: Attributes;
}

function forward<Attributes>(operation: Operation<Attributes>, node: GraphNode | null, { given, inputs, attributes }: Call<Attributes>): Tensor {
  try {
    return operation.forward(node ?? NOT_RECORDED, inputs, attributes);
  } catch (error) {
    node?.release();
    throw refusedBy(operation.name, given, error);
  }
}

/** Runs `body` without recording: what it computes has no gradient. */
export function noGrad<T>(body: () => T): T {
  return withRecording(false, body);
}

/** Runs `body` with recording, also within {@link noGrad}. */
export function enableGrad<T>(body: () => T): T {
  return withRecording(true, body);
}

export function isGradEnabled(): boolean {
  return isRecording;
}

function withRecording<T>(wanted: boolean, body: () => T): T {
  const before = isRecording;
  isRecording = wanted;
  try {
    return synchronous(wanted ? 'enableGrad' : 'noGrad', body());
  } finally {
    isRecording = before;
  }
}
