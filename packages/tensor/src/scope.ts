/**
 * Tensors that end with a block of code. Where none is open tensors end as other objects do, when they are collected; but the collector is late and knows
 * nothing of how dear fresh memory is: a training loop without scopes takes new memory for each step.
 */
import { synchronous } from './failure.js';

/** What a scope ends. */
export interface Owned {
  /** What must outlive the scope it was made in is kept. */
  isKept: boolean;
  dispose(): void;
}

/** The scopes that are open, the innermost last; null: {@link outsideScopes}. Scopes are for code without `await` in it: others would be opened meanwhile. */
const open: (Scope | null)[] = [];

/** Has the innermost scope end the tensor. */
export function own(tensor: Owned): void {
  open[open.length - 1]?.tensors.push(tensor);
}

/**
 * Ends the tensors that were made since, when it is disposed of.
 *
 * @example
 * {
 *   using step = scope();
 *   const loss = step.keep(model.forward(batch).mean());
 *   loss.backward();       // gradients are kept, whatever the scope
 * }
 */
export class Scope implements Disposable {
  readonly tensors: Owned[] = [];

  constructor() {
    open.push(this);
  }

  /** Hands a tensor to the scope around this one, or to nobody. @returns the tensor */
  keep<T extends Owned>(tensor: T): T {
    const index = this.tensors.indexOf(tensor);
    if (index >= 0) this.tensors.splice(index, 1);
    const outer = open[open.indexOf(this) - 1];
    if (index >= 0) outer?.tensors.push(tensor);
    return tensor;
  }

  /** Takes in no more tensors; those that it has live on until it is disposed of: over an `await`, for instance. */
  close(): void {
    const index = open.indexOf(this);
    if (index >= 0) open.splice(index, 1);
  }

  /** Ends the tensors. Disposing twice is fine. */
  [Symbol.dispose](): void {
    this.close();
    for (const tensor of this.tensors) if (!tensor.isKept) tensor.dispose();
    this.tensors.length = 0;
  }
}

/** Opens a scope: `using step = scope()`. */
export function scope(): Scope {
  return new Scope();
}

/** What a {@link tidy} may return: tensors, and arrays and plain objects of them. */
type Kept = Owned | readonly Kept[] | { readonly [key: string]: Kept } | number | string | boolean | bigint | null | undefined | void;

/**
 * Runs `body`, then ends the tensors that it made, other than those that it returns.
 * @example const accuracy = tidy(() => model.forward(images).argmax(1).eq(labels).mean().item());
 */
export function tidy<T extends Kept>(body: () => T): T {
  using inner = new Scope();
  const result = synchronous('tidy', body());
  keepAll(inner, result);
  return result;
}

function keepAll(scope: Scope, value: Kept): void {
  if (typeof value !== 'object' || value === null) return;
  if (typeof (value as Owned).dispose === 'function') scope.keep(value as Owned);
  else for (const each of Object.values(value)) keepAll(scope, each as Kept);
}

/** Runs `body` as if no scope were open. */
export function outsideScopes<T>(body: () => T): T {
  const depth = open.push(null);
  try {
    return body();
  } finally {
    open.length = depth - 1;
  }
}
