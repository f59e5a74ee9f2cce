/**
 * The graph of what was computed: each operation on tensors that require gradients leaves a node behind, with edges to what made its inputs and with the
 * tensors that its backward pass needs. Nodes are numbered as they are made, so every edge leads to a smaller number.
 */
import { autocastInputs, type AutocastRule } from '../amp/policy.js';
import type { Dtype } from '../dtype.js';
import { tensorError } from '../failure.js';
import type { Shape } from '../shape.js';
import type { GradientHook, Tensor } from '../tensor.js';

/** What an operation is: one row of the table that operations/ makes up. */
export interface Operation<Attributes> {
  /** As users call it. */
  readonly name: string;
  /** In which dtype it computes under autocast; without one, in that of its inputs. */
  readonly autocast?: AutocastRule;
  /** Checks shapes and dtypes, and computes. What it calls is not recorded. @throws TensorError */
  forward(context: Context, inputs: readonly Tensor[], attributes: Attributes): Tensor;
  /**
   * From the gradient of the result those of the inputs, in their order; null for what `context.wants` does not want. Each has its input's shape and dtype, and may be the
   * gradient itself or a view of it.
   */
  backward(context: SavedContext, gradient: Tensor, attributes: Attributes): readonly (Tensor | null)[];
}

/** What a forward pass leaves for the backward pass. */
export interface Context {
  /** Whether there will be a backward pass; else saving does nothing. */
  readonly records: boolean;
  /** Which inputs have a gradient. */
  readonly wants: readonly boolean[];
  /** Keeps inputs and results. */
  save(...tensors: (Tensor | null)[]): void;
  /** Keeps what nobody else has a use for: it is disposed of after the backward pass. */
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
  readonly tensor: Tensor | null;
  readonly version: number;
  readonly isOwn: boolean;
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

/** One operation that was done. */
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

  constructor(operation: Operation<unknown>, inputs: readonly Tensor[], attributes: unknown) {
    this.#operation = operation;
    this.#attributes = attributes;
    this.wants = inputs.map((input) => input.requiresGrad);
    this.inputs = inputs.map(({ shape, dtype }) => ({ shape, dtype }));
    this.edges = inputs.map((input) => (input.requiresGrad ? input.node ?? input : null));
  }

  get name(): string {
    return this.#operation.name;
  }

  save(...tensors: (Tensor | null)[]): void {
    for (const tensor of tensors) this.#saved!.push({ tensor, version: tensor?.storage.version ?? 0, isOwn: false });
  }

  saveOwn(...tensors: (Tensor | null)[]): void {
    for (const tensor of tensors) this.#saved!.push({ tensor: tensor?.keep() ?? null, version: tensor?.storage.version ?? 0, isOwn: true });
  }

  get saved(): readonly Tensor[] {
    if (this.#saved === null) throw tensorError('backward', [`the graph of ${this.name}`], 'it was gone through before, and freed: pass retainGraph: true to the first backward()');
    return this.#saved.map(({ tensor, version }) => {
      if (tensor?.isDisposed) throw tensorError('backward', [tensor], `${this.name} needs it, and it was disposed of: call backward() within its scope`);
      if (tensor !== null && tensor.storage.version !== version) throw tensorError('backward', [tensor], `${this.name} needs it as it was, and it was changed in place since`);
      return tensor as Tensor;
    });
  }

  backward(gradient: Tensor): readonly (Tensor | null)[] {
    return this.#operation.backward(this, gradient, this.#attributes);
  }

  /** The backward pass is over: there will be no other. */
  free(): void {
    for (const { tensor, isOwn } of this.#saved ?? []) if (isOwn) tensor?.dispose();
    this.#saved = null;
  }
}

/** Does an operation, and records it where gradients are wanted. */
export function apply<Attributes>(operation: Operation<Attributes>, given: readonly Tensor[], attributes: Attributes): Tensor {
  for (const tensor of given) if (tensor.isDisposed) throw tensorError(operation.name, given, 'it was disposed of, by itself or with its scope');
  const inputs = operation.autocast === undefined ? given : autocastInputs(operation.autocast, given);
  const records = isRecording && inputs.some((input) => input.requiresGrad);
  const before = isRecording;
  isRecording = false;
  try {
    const node = records ? new GraphNode(operation as Operation<unknown>, inputs, attributes) : null;
    const result = operation.forward(node ?? NOT_RECORDED, inputs, attributes);
    result.node = node;
    tracer?.applied(operation.name, inputs, attributes, result);
    return result;
  } finally {
    isRecording = before;
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
    return body();
  } finally {
    isRecording = before;
  }
}
