/** The types that carry a function's and a class's own types to the other side. */
import type { LabelCondition, ResourceOptions } from '@muster/base';
import type { ObjectRef } from '../machine/reference.js';
import type { PlacementGroup } from './placement-group.js';

/** A value, or a reference to one: a reference as a top-level argument is passed by its value's location. */
export type Argument<T> = T | ObjectRef<T>;
/** A parameter list in which each may be given by reference. */
export type Arguments<A extends readonly unknown[]> = { [K in keyof A]: Argument<A[K]> };

/** Where a task or actor may run. */
export type Placement =
  | 'spread'
  /** On this node; with `soft`, on others while it has no room or is gone. */
  | { readonly node: string; readonly soft?: boolean }
  /** On nodes whose labels satisfy all of the conditions. A node's id counts as its label `node`. */
  | { readonly labels: Readonly<Record<string, LabelCondition>> }
  /**
   * In this bundle of a placement group, or in any of them. With `captureChildTasks`, tasks and actors that are made there run in the group, too, unless
   * they name a placement of their own.
   */
  | { readonly group: PlacementGroup; readonly bundle?: number; readonly captureChildTasks?: boolean };

interface CommonOptions extends ResourceOptions {
  /** Shown in `cluster list`, in logs and in errors. Default: the function's name. */
  readonly name?: string;
  readonly placement?: Placement;
  /**
   * What no node of the cluster could ever hold waits for one that can, such as an autoscaler starts. Default false: it fails at once with
   * UnschedulableError. What names a node never waits for one.
   */
  readonly waitForNodes?: boolean;
  /**
   * How long one run of the task, or the actor's life, takes at most, as far as you know. Others that wait for its room are promised it by then, and it may run in
   * room that is kept for them until then. Default: nobody knows.
   */
  readonly expectedDurationMs?: number;
}

/** How a task is placed and tried. */
export interface TaskOptions extends CommonOptions {
  /** Cpus it occupies. Default 1. */
  readonly cpus?: number;
  /** Further attempts when its worker or node dies, or when `retryOn` asks for one. Default 3. */
  readonly retries?: number;
  /** Whether an error that the function threw is worth another attempt. Default: never. */
  readonly retryOn?: (error: unknown) => boolean;
  /** The longest one attempt may run on its worker; time in queues does not count. Default: no limit. */
  readonly timeoutMs?: number;
  /** Cancels the task when it aborts. */
  readonly signal?: AbortSignal;
}

/** How an actor is placed, named and restarted. */
export interface ActorOptions extends CommonOptions {
  /** Cpus it occupies for its whole life. Default 0. */
  readonly cpus?: number;
  /** How often it is restarted after its process died; -1: always. Default 0. */
  readonly maxRestarts?: number;
  /** Calls that may run at once. Default 1: one after another. */
  readonly maxConcurrency?: number;
  /** Calls that one caller may have unfinished before further ones fail with BackpressureError. Default: no limit. */
  readonly maxPendingCalls?: number;
  /** `job`: ends with the job that made it. `detached`: lives until it is killed. Default `job`. */
  readonly lifetime?: 'job' | 'detached';
  /** With a name: take the living actor of that name if there is one. */
  readonly getIfExists?: boolean;
}

/** How one call of an actor's method is tried. */
export interface CallOptions {
  /** Further attempts when the actor dies while it runs and is restarted. Default 0. */
  readonly retries?: number;
  readonly signal?: AbortSignal;
}

export interface MapOptions {
  /** Tasks in flight at once. Default 1000. */
  readonly window?: number;
}

/** A function that runs anywhere on the cluster. Calling it is calling an async function. */
export interface RemoteFunction<A extends readonly unknown[], R> {
  (...args: Arguments<A>): Promise<Awaited<R>>;
  /** Starts it and returns a reference to its result at once. */
  remote(...args: Arguments<A>): ObjectRef<Awaited<R>>;
  /** The same function with other options. */
  options(options: TaskOptions): RemoteFunction<A, R>;
  /** Results of the function for each input, in order; at most `window` tasks are in flight. */
  map(inputs: Iterable<Argument<A[0]>> | AsyncIterable<Argument<A[0]>>, options?: MapOptions): AsyncGenerator<Awaited<R>, void, undefined>;
  /** The same as they are done. */
  mapUnordered(inputs: Iterable<Argument<A[0]>> | AsyncIterable<Argument<A[0]>>, options?: MapOptions): AsyncGenerator<Awaited<R>, void, undefined>;
}

/** A generator that runs anywhere on the cluster; its values arrive as they are yielded. */
export interface RemoteGenerator<A extends readonly unknown[], Y> {
  (...args: Arguments<A>): AsyncGenerator<Y, void, undefined>;
  /** The same with a reference for each value. */
  remote(...args: Arguments<A>): AsyncGenerator<ObjectRef<Y>, void, undefined>;
  options(options: TaskOptions): RemoteGenerator<A, Y>;
}

/** `[Y]` for a generator of Y, null for any other result; `never` and `any`, which pass for everything, are no generators. */
type Yielded<R> = [R] extends [never] ? null : 0 extends 1 & R ? null : [R] extends [Generator<infer Y, any, any> | AsyncGenerator<infer Y, any, any>] ? [Y] : null;

/** The remote form of a function with these parameters and this result. */
export type RemoteForm<A extends readonly unknown[], R> = Yielded<R> extends [infer Y] ? RemoteGenerator<A, Y> : RemoteFunction<A, R>;

/** One method of an actor, seen from elsewhere. */
export interface RemoteMethod<A extends readonly unknown[], R> {
  (...args: Arguments<A>): Promise<Awaited<R>>;
  remote(...args: Arguments<A>): ObjectRef<Awaited<R>>;
  options(options: CallOptions): RemoteMethod<A, R>;
}

/** A generator method of an actor. */
export interface RemoteGeneratorMethod<A extends readonly unknown[], Y> {
  (...args: Arguments<A>): AsyncGenerator<Y, void, undefined>;
  remote(...args: Arguments<A>): AsyncGenerator<ObjectRef<Y>, void, undefined>;
  options(options: CallOptions): RemoteGeneratorMethod<A, Y>;
}

type MethodForm<F> = F extends (...args: infer A) => infer R ? (Yielded<R> extends [infer Y] ? RemoteGeneratorMethod<A, Y> : RemoteMethod<A, R>) : never;

type MethodNames<T> = { [K in keyof T]: T[K] extends (...args: never[]) => unknown ? K : never }[keyof T] & string;

/** An actor as its holders see it: every public method in its remote form. */
export type ActorHandle<T> = { readonly [K in MethodNames<T>]: MethodForm<T[K]> } & {
  /** The actor's id, for logs and the command line. */
  readonly actorId: string;
};

/** A class whose instances live on the cluster. */
export interface ActorClass<C extends new (...args: never[]) => unknown> {
  /** Makes an actor; resolves when its constructor has run. @throws what the constructor throws, UnschedulableError, ActorDiedError */
  create(...args: Arguments<ConstructorParameters<C>>): Promise<ActorHandle<InstanceType<C>>>;
  /** The same class with other options. */
  options(options: ActorOptions): ActorClass<C>;
}
