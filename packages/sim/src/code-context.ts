/**
 * What users' code in the simulation can do: submit, wait, put, create actors. It stands for the imports of @muster/core, and for the
 * variables in which code keeps references: what it holds is held until it ends.
 */
import { newId, NODE_LABEL, parseResources, type ActorId, type GroupId, type MusterError, type ResourceOptions } from '@muster/base';
import { failureFromMessage, NO_PLACEMENT, type ActorState, type BundleRef, type Demand, type GangMember, type GroupState } from '@muster/protocol';
import { EncodedValue, RefState, type GroupClient, type ObjectRef, type ResultStream } from '@muster/core/internal';
import type { Running } from '@muster/worker';
import { until, type Program } from './program.js';
import type { SimSession } from './sim-session.js';
import { decodeError, Large } from './values.js';
import { onSettled } from './waiting.js';

/** Options of a task. */
export interface CallOptions extends ResourceOptions {
  readonly retries?: number;
  readonly retryOn?: (error: unknown) => boolean;
  readonly timeoutMs?: number;
  /** Only on this node. */
  readonly nodeId?: string;
  readonly expectedDurationMs?: number;
  readonly group?: GroupPlacement;
}

/** In this bundle of a placement group, or in any; `captures`: what is made there runs in the group, too. */
export interface GroupPlacement {
  readonly groupId: string;
  readonly bundle?: number;
  readonly captures?: boolean;
}

/** What any demand may ask for. */
type DemandOptions = ResourceOptions & Pick<CallOptions, 'nodeId' | 'group' | 'expectedDurationMs'>;

/** Options of an actor. */
export interface ActorOptions extends ResourceOptions {
  readonly maxRestarts?: number;
  readonly maxConcurrency?: number;
  readonly name?: string;
  readonly isDetached?: boolean;
  readonly group?: GroupPlacement;
}

/** A handle of an actor, as it travels in values. */
export interface ActorHandle {
  readonly actorId: string;
  readonly className: string;
}

/** The task or call on whose behalf code runs. */
export interface TaskIdentity {
  readonly running: Running;
  /** Ties a task that it submits to it. */
  readonly adopt: (ref: ObjectRef) => void;
  /** Hands on a value of a generator; comes to whether anybody wants more. */
  readonly emit: (value: unknown) => Program<boolean>;
}

/** A generator's values, as they arrive. */
export interface ValueStream {
  /** Settles when the generator has ended. */
  readonly end: ObjectRef;
  readonly values: ResultStream;
}

/** A function with the options of its calls. */
export type PreparedCall = ReturnType<SimSession['taskSpec']>;

/** The hands of one task, call or driver. */
export class CodeContext {
  /** Null as long as it holds nothing. */
  #held: Set<ObjectRef> | null = null;

  /** `task` is null in a driver and in a constructor; `gang` is the place of the member that is constructed. */
  constructor(readonly session: SimSession, readonly task: TaskIdentity | null, readonly gang: GangMember | null = null) {}

  get nodeId(): string {
    return this.session.nodeId;
  }

  /** The bundle in which this code runs; null: in none. */
  get bundle(): BundleRef | null {
    return this.session.bundle;
  }

  get nowMs(): number {
    return this.session.world.clock.nowMs();
  }

  // ---------------------------------------------------------------- time

  /** Computes without looking up. */
  *work(durationMs: number): Program<void> {
    yield { isWork: true, start: (resume) => this.session.process.work(durationMs, resume) };
  }

  /** Waits for something that is not of the cluster. */
  *sleep(durationMs: number): Program<void> {
    yield* until<void>((resume) => { this.session.process.after(durationMs, resume); });
  }

  // ---------------------------------------------------------------- references

  /** Keeps a reference, and all that it leads to, until the code ends or lets go of it. */
  readonly hold = (ref: ObjectRef): ObjectRef => {
    this.#held ??= new Set();
    if (!this.#held.has(ref)) {
      this.#held.add(ref);
      this.session.collector.hold(ref);
    }
    return ref;
  };

  drop(ref: ObjectRef): void {
    if (this.#held?.delete(ref)) this.session.collector.letGo(ref);
  }

  /** The code is over: its variables are gone. */
  end(): void {
    for (const ref of [...this.#held ?? []]) this.drop(ref);
  }

  /** Calls a function. */
  call(name: string, args: readonly unknown[] = [], options: CallOptions = {}): ObjectRef {
    return this.#submit(name, args, options, false);
  }

  #submit(name: string, args: readonly unknown[], options: CallOptions, streaming: boolean): ObjectRef {
    const { session } = this;
    const { retries = 0, retryOn = null, timeoutMs = 0 } = options;
    const spec = session.taskSpec(name, demandOf(options, 1, session.bundle), { name, retries, retryOn, timeoutMs, streaming });
    const ref = this.hold(session.owner.submit(spec, args));
    session.world.ledger.submitted(session.owner.key, ref.sequence, { name, retries });
    this.task?.adopt(ref);
    return ref;
  }

  /** Calls a generator. */
  stream(name: string, args: readonly unknown[] = [], options: CallOptions = {}): ValueStream {
    const end = this.#submit(name, args, options, true);
    const values = this.session.owner.streams.get(end)!;
    this.session.streams.add(values);
    return { end, values };
  }

  /** Takes no more of a generator's values: it is cancelled, if it still runs. */
  leave({ end, values }: ValueStream): void {
    this.session.streams.delete(values);
    this.cancel(end);
  }

  /** The reference of a generator's next value; null when it has ended. @throws the error it came to */
  *next({ end, values }: ValueStream): Program<ObjectRef | null> {
    for (;;) {
      const ref = values.take();
      if (ref) return this.hold(ref);
      if (end.state === RefState.failed) throw decodeError(end.value as MusterError | EncodedValue);
      if (end.state !== RefState.pending) return null;
      yield* this.session.waiting(until<void>((resume) => values.whenChanged(resume)));
    }
  }

  /** What the tasks of a function with these options share: for programs that make a million calls. */
  prepare(name: string, options: CallOptions = {}): PreparedCall {
    const { retries = 0, retryOn = null, timeoutMs = 0 } = options;
    return this.session.taskSpec(name, demandOf(options, 1, this.session.bundle), { name, retries, retryOn, timeoutMs, streaming: false });
  }

  /** Calls a prepared function. The code does not hold the reference: its value must be a small one. */
  submit(call: PreparedCall, args: readonly unknown[]): ObjectRef {
    const { owner, world } = this.session;
    const ref = owner.submit(call, args);
    world.ledger.submitted(owner.key, ref.sequence, call.options);
    return ref;
  }

  /** The value of a reference. @throws the error it came to */
  get(ref: ObjectRef): Program<unknown> {
    return this.session.observe(ref, this.session.valueOf(ref, this.hold));
  }

  /** The values of references, in order. @throws the first error */
  *getAll(refs: readonly ObjectRef[]): Program<unknown[]> {
    yield* this.session.settled(refs);
    const values: unknown[] = [];
    for (const ref of refs) values.push(yield* this.get(ref));
    return values;
  }

  /** Waits until so many of the references are ready. */
  *wait(refs: readonly ObjectRef[], count: number): Program<ObjectRef[]> {
    const { session } = this;
    const ready = (): ObjectRef[] => refs.filter((ref) => ref.state !== RefState.pending);
    if (ready().length >= count) return ready().slice(0, count);
    for (const ref of refs) if (ref.state === RefState.pending && ref.detail?.foreign) session.owner.objects.wantValue(ref);
    yield* session.waiting(until<void>((resume) => {
      let missing = count - ready().length;
      for (const ref of refs) if (ref.state === RefState.pending) onSettled(ref, () => { if (--missing === 0) resume(); });
    }));
    return ready().slice(0, count);
  }

  /** Makes a value an object. */
  *put(value: unknown): Program<ObjectRef> {
    const { session } = this;
    if (!(value instanceof Large)) return this.hold(session.putInline(value));
    const ref = this.hold(session.putLarge(value));
    yield* session.settled([ref]);
    if (ref.state === RefState.failed) throw ref.value as MusterError;
    return ref;
  }

  cancel(ref: ObjectRef, force = false): void {
    this.session.owner.cancel(ref, { force });
  }

  free(refs: readonly ObjectRef[]): void {
    this.session.owner.objects.free(refs);
  }

  // ---------------------------------------------------------------- actors

  /** Makes an actor and waits until its constructor has run. @throws what its constructor threw, or why it died */
  *create(className: string, args: readonly unknown[] = [], options: ActorOptions = {}): Program<ActorHandle> {
    const { session } = this;
    const actorId = newId('actor', session.world.workload);
    const { maxRestarts = 0, maxConcurrency = 1, name = '', isDetached = false } = options;
    session.world.ledger.actorCreated(actorId, { maxRestarts });
    const creation = session.encodeCreation(args);
    const reply = yield* session.request((requestId) => ({
      type: 'createActor', requestId, actorId, name, className, detached: isDetached, getIfExists: false, demand: demandOf(options, 0, session.bundle), maxRestarts,
      maxConcurrency, creation: creation.bytes, maxPendingCalls: 0, interface: Buffer.from(className),
    }));
    const client = session.owner.actors.client(reply.actorId as ActorId);
    client.watch((state) => {
      if (state.state === 'dead') creation.release();
      return state.state === 'dead';
    });
    if (!isDetached) session.owner.actors.own(client);
    yield* this.#alive(actorId);
    return { actorId, className };
  }

  *#alive(actorId: string): Program<ActorState> {
    const { session } = this;
    const client = session.owner.actors.client(actorId as ActorId);
    const state = yield* session.waiting(until<ActorState | null>((resume) => {
      client.watch((now) => {
        if (now.state !== 'alive' && now.state !== 'dead' && !client.lostWith) return false;
        resume(client.lostWith ? null : now);
        return true;
      });
    }));
    if (!state) throw client.lostWith!;
    if (state.state === 'alive') return state;
    if (state.creationError.length > 0) throw decodeError(new EncodedValue(state.creationError[0]!, state.creationError.subarray(1)));
    throw client.deadError(`the creation of ${actorId}`);
  }

  /** Calls a method of an actor. */
  invoke(handle: ActorHandle, method: string, args: readonly unknown[] = [], options: { readonly retries?: number } = {}): ObjectRef {
    const { session } = this;
    const client = session.actorClient(handle);
    if (client.lostWith) throw client.lostWith;
    client.checkRoom();
    const retries = options.retries ?? 0;
    const target = Object.keys(session.world.library.classes[handle.className]!.methods).indexOf(method);
    const spec = { queue: client, fn: null, target, options: { name: `${handle.className}.${method}`, retries, retryOn: null, timeoutMs: 0, streaming: false } };
    const ref = this.hold(session.owner.submit(spec, args));
    client.pendingCount++;
    session.world.ledger.submitted(session.owner.key, ref.sequence, spec.options);
    return ref;
  }

  // ---------------------------------------------------------------- placement groups

  /** Has bundles placed together. @throws why they cannot be */
  *placementGroup(bundles: readonly ResourceOptions[], strategy: string, expectedDurationMs = 0): Program<string> {
    const { session } = this;
    const groupId = newId('pg', session.world.workload);
    const demands = bundles.map((bundle): Demand => ({ resources: { amounts: parseResources(bundle) }, placement: NO_PLACEMENT, waitForNodes: false, expectedDurationMs }));
    session.world.ledger.bundles.groupCreated(groupId, demands.map(({ resources }) => resources!.amounts));
    const client = session.owner.groups.create(groupId, { name: '', bundles: demands, strategy, topology: [], waitForNodes: false });
    const { state, failure } = yield* this.#reached(client, ({ state }) => state === 'created' || state === 'removed');
    if (state === 'removed') throw failureFromMessage(failure!);
    return groupId;
  }

  *removeGroup(groupId: string): Program<void> {
    const { groups } = this.session.owner;
    const client = groups.client(groupId as GroupId, []);
    groups.remove(client);
    yield* this.#reached(client, ({ state }) => state === 'removed');
  }

  *#reached(client: GroupClient, isReached: (state: GroupState) => boolean): Program<GroupState> {
    return yield* this.session.waiting(until<GroupState>((resume, fail) => {
      client.watch((state) => {
        if (client.lostWith) fail(client.lostWith);
        else if (isReached(state)) resume(state);
        else return false;
        return true;
      });
    }));
  }

  /** Ends an actor for good, and waits for that. */
  *kill(handle: ActorHandle): Program<void> {
    const { session } = this;
    const client = session.actorClient(handle);
    session.toHead({ type: 'killActor', actorId: handle.actorId, noRestart: true, incarnation: 0, reason: `kill() by ${session.options.processId}` });
    yield* session.waiting(until<void>((resume) => {
      client.watch((state) => {
        if (state.state !== 'dead' && !client.lostWith) return false;
        resume();
        return true;
      });
    }));
  }
}

/** What code in a bundle that captures children makes runs in its group, unless it names a placement. */
function demandOf(options: DemandOptions, defaultCpus: number, home: BundleRef | null): Demand {
  const { cpus = defaultCpus, gpus, memory, resources, nodeId = '', group, expectedDurationMs = 0 } = options;
  const captured = home?.capturesChildren && nodeId === '' ? { groupId: home.groupId, captures: true } : undefined;
  const { groupId = '', bundle, captures: capturesChildren = false }: Partial<GroupPlacement> = group ?? captured ?? {};
  const labels = nodeId === '' ? [] : [{ key: NODE_LABEL, operator: 'in', values: [nodeId], weight: 0 }];
  const placement = { ...NO_PLACEMENT, labels, groupId, bundle: bundle === undefined ? 0 : bundle + 1, capturesChildren };
  return { resources: { amounts: parseResources({ cpus, gpus, memory, resources }) }, placement, waitForNodes: false, expectedDurationMs };
}
