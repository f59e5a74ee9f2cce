/**
 * One simulated process's use of the cluster: the owner's real machine wired to simulated edges, as core's io/session wires it to real ones.
 * Drivers and workers have one each.
 */
import { makeError, MusterError, ownerKey, type ActorId, type ObjectId, type ProcessId } from '@muster/base';
import {
  failureFromMessage, framePayload, targetOf, type BundleRef, type ClientToHead, type Demand, type Endpoint, type HeadToClient, type MessageStream, type RequestReply,
  type StoreWelcome, type WorkerCommand,
} from '@muster/protocol';
import {
  END_JOB_DEADLINE_MS, EncodedValue, FETCH_ATTEMPTS_MAX, ObjectRef, Owner, OWNER_TICK_MS, RefState, Search, storageIdFor, StoredObject,
  type EncodedArgument, type LenderHandlers, type LenderTransport, type LineHandlers, type LineTarget, type LineTransport, type OwnerIdentity, type ResultStream,
} from '@muster/core/internal';
import type { Arena } from './arena.js';
import { Collector } from './collector.js';
import type { StreamHandlers } from './network.js';
import type { SimProcess } from './process.js';
import { until, type Program, type UserError } from './program.js';
import { SimStoreClient } from './sim-store-client.js';
import { decode, decodeError, encode, encodeError, Large, print, write } from './values.js';
import { onSettled } from './waiting.js';
import type { World } from './world.js';

type TaskSpec = ReturnType<Owner['taskSpec']>;
type TaskOptions = TaskSpec['options'];
type ActorClient = ReturnType<Owner['actors']['client']>;

/** How often the collector looks, about. Real ones look when they like. */
const COLLECT_INTERVAL_MS = 200;
/** How long the view of a stored object stays mapped after its last use, at most. */
const VIEW_LINGER_MAX_MS = 50;

/** Whose session it is, and where its cluster is. */
export interface SessionOptions {
  readonly processId: ProcessId;
  readonly isDriver: boolean;
  /** Of a driver's job. */
  readonly queue?: string | undefined;
  readonly priority?: number | undefined;
  /** Of the node's daemon, on the process's machine. */
  readonly daemonAddress: string;
  readonly headAddress: string;
  readonly arena: Arena;
  readonly endpoint: Endpoint;
  readonly handlers: StreamHandlers;
  readonly onCommand: (command: WorkerCommand) => void;
  readonly onHeadMessage: (message: HeadToClient) => void;
  readonly onReady: () => void;
  readonly onClosed: (failure: MusterError) => void;
  /** References that are held outside of the session. */
  readonly roots: () => Iterable<ObjectRef>;
}

/** The session of one process. */
export class SimSession {
  readonly key: string;
  readonly identity: OwnerIdentity;
  readonly collector: Collector;
  #owner: Owner | null = null;
  jobId = '';
  /** Of a worker: the bundle in which its lease is; null: in none. */
  bundle: BundleRef | null = null;
  nodeId = '';
  /** Waits of users' code that are going on. */
  readonly waits = { count: 0, onChange: (_count: number): void => {} };
  /** Values of generators that programs are about to take. */
  readonly streams = new Set<ResultStream>();
  store!: SimStoreClient;
  closed: MusterError | null = null;
  #head: MessageStream<ClientToHead, HeadToClient> | null = null;
  #onJobEnded = (): void => {};
  readonly #backlog: ClientToHead[] = [];
  readonly #foreignRefs = new Map<ObjectId, ObjectRef>();
  readonly #functions = new Map<string, ReturnType<Owner['defineFunction']>>();
  readonly #requests = new Map<number, { readonly resume: (reply: RequestReply) => void; readonly fail: (error: MusterError) => void }>();
  #requestCount = 0;
  #storedCount = 0;
  #isTicking = false;

  constructor(readonly world: World, readonly process: SimProcess, readonly options: SessionOptions) {
    this.identity = { processId: options.processId, endpoint: options.endpoint, nodeTimeoutMs: 0 };
    this.key = ownerKey(options.processId);
    this.collector = new Collector({ owner: () => this.#owner, roots: () => this.#roots(), onForeignGone: (ref) => this.#foreignGone(ref) });
    if (options.isDriver) this.#owner = this.#makeOwner();
  }

  /** The owner's machine. That of a worker is made when it is needed first: most own nothing in all their lives, and there may be many thousands. */
  get owner(): Owner {
    if (this.#owner) return this.#owner;
    this.#owner = this.#makeOwner();
    if (this.#head) this.#beatLater();
    return this.#owner;
  }

  get hasOwner(): boolean {
    return this.#owner !== null;
  }

  #makeOwner(): Owner {
    const { world, process, options } = this;
    const { clock, workload } = world;
    return new Owner(this.identity, {
      nowMs: () => clock.nowMs(),
      startTicks: () => { if (this.#head) this.#tickLater(); }, // else it begins when the session is connected
      random: () => workload.next(),
      defer: (callback) => process.defer(callback),
      toHead: (message) => this.toHead(message),
      openLine: (target, handlers) => this.#openLine(target, handlers),
      openLender: ({ endpoint }, handlers) => this.#openLender(endpoint, handlers),
      judgeError: (error, retryOn, decide) => process.defer(() => decide(retryOn(decodeError(error)))),
      needed: (needed) => { if (!options.isDriver) this.store.sayNeeded(needed); },
      freeStored: (objects) => { for (const stored of objects) this.store.free([stored.storageId], stored.locations); },
      watchCollection: (ref) => this.collector.watch(ref),
      foreignRefs: {
        find: (id) => this.#foreignRefs.get(id),
        add: (ref) => {
          this.#foreignRefs.set(ref.id, ref);
          this.collector.watchForeign(ref);
        },
      },
      encodeError,
    }, (value) => this.#encodeArgument(value));
  }

  #foreignGone(ref: ObjectRef): void {
    this.#foreignRefs.delete(ref.id);
    this.owner.borrowing.collected(ref.id, ref.detail!.foreign!.ownerId);
  }

  *#roots(): Iterable<ObjectRef> {
    if (this.#owner) yield* this.#owner.borrowing.askedRefs();
    for (const stream of this.streams) yield* stream.waiting;
    yield* this.options.roots();
  }

  /** Connects to the node's daemon, then to the head. */
  connect(): void {
    const { process, options, world } = this;
    const handlers: StreamHandlers = { ...options.handlers, 'Peer.Objects': (stream) => this.owner.lending.serve(stream) };
    world.network.listen(process, targetOf(options.endpoint, options.endpoint.nodeId), handlers);
    world.network.listen(process, targetOf(options.endpoint, ''), handlers);
    this.store = new SimStoreClient({
      stream: world.network.open(process, options.daemonAddress, 'Daemon.Store'), arena: options.arena,
      hello: { processId: options.processId, jobId: '', pid: 1, endpoint: options.endpoint },
      onWelcome: (welcome) => this.#connectHead(welcome), onCommand: options.onCommand,
      onClosed: (failure) => this.#lostConnection('its node\'s daemon', failure),
    });
  }

  #connectHead(welcome: StoreWelcome): void {
    const { options } = this;
    this.nodeId = welcome.nodeId;
    const head = this.world.network.open(this.process, options.headAddress, 'Head.Client');
    head.onMessage = (message) => this.#takeHeadMessage(head, message);
    head.onEnd = (failure) => {
      this.#onJobEnded();
      this.#lostConnection('the head', failure);
    };
    head.send({
      type: 'clientHello', processId: options.processId, jobId: '', isDriver: options.isDriver, nodeId: this.nodeId, pid: 1, endpoint: options.endpoint,
      entrypoint: '', wantLogs: false, queue: options.queue ?? '', priority: options.priority ?? 0,
    });
  }

  #takeHeadMessage(head: MessageStream<ClientToHead, HeadToClient>, message: HeadToClient): void {
    switch (message.type) {
      case 'welcome': {
        if (message.failure) return this.#lostConnection('the head', failureFromMessage(message.failure));
        this.identity.nodeTimeoutMs = message.nodeTimeoutMs;
        this.jobId ||= message.jobId; // a worker learns it with its first lease
        this.#head = head;
        for (const waiting of this.#backlog.splice(0)) head.send(waiting);
        if (this.#owner) this.#beatLater();
        return this.options.onReady();
      }
      case 'requestReply': {
        const request = this.#requests.get(message.requestId);
        this.#requests.delete(message.requestId);
        return request?.resume(message);
      }
      case 'jobEnded': return this.#onJobEnded();
      case 'clientQuery': return this.toHead({ type: 'clientReply', requestId: message.requestId, json: '{}' });
      default:
        this.#owner?.fromHead(message);
        this.options.onHeadMessage(message);
    }
  }

  toHead(message: ClientToHead): void {
    if (this.#head) this.#head.send(message);
    else this.#backlog.push(message);
  }

  /** Sends a message that the head answers. @throws MusterError the failure that it names */
  *request(message: (requestId: number) => ClientToHead): Program<RequestReply> {
    const requestId = ++this.#requestCount;
    const reply = yield* until<RequestReply>((resume, fail) => {
      if (this.closed) return fail(this.closed);
      this.#requests.set(requestId, { resume, fail });
      this.toHead(message(requestId));
    });
    if (reply.failure) throw failureFromMessage(reply.failure);
    return reply;
  }

  #openLine(target: LineTarget, handlers: LineHandlers): LineTransport {
    const stream = this.world.network.open(this.process, targetOf(target.endpoint, this.nodeId), 'Peer.Tasks', {
      'caller-id': this.options.processId, 'lease-id': target.leaseId, 'actor-id': target.actorId, 'incarnation': String(target.incarnation),
    });
    const { ownerFrameMs, ownerResultMs } = this.world.costs;
    stream.onMessage = (frame) => {
      const openBefore = this.owner.slots.usedCount;
      handlers.onFrame(framePayload(frame));
      this.process.spend(ownerFrameMs + ownerResultMs * (openBefore - this.owner.slots.usedCount));
    };
    stream.onDrain = () => handlers.onDrain();
    stream.onEnd = (failure) => handlers.onClosed(failure?.message ?? 'the worker closed the connection');
    return { send: (frame) => stream.send(frame), close: () => stream.end() };
  }

  #openLender(endpoint: Endpoint, handlers: LenderHandlers): LenderTransport {
    const stream = this.world.network.open(this.process, targetOf(endpoint, this.nodeId), 'Peer.Objects');
    stream.onMessage = (message) => handlers.onMessage(message);
    stream.onEnd = () => handlers.onClosed();
    return { send: (message) => void stream.send(message), close: () => stream.end() };
  }

  /** The owner's clock, and the collector's. */
  #beatLater(): void {
    this.#tickLater();
    this.#collectLater();
  }

  #tickLater(): void {
    if (this.#isTicking) return;
    this.#isTicking = true;
    this.process.after(OWNER_TICK_MS, () => {
      this.#isTicking = false;
      if (!this.closed && this.owner.tick(this.world.clock.nowMs())) this.#tickLater();
    });
  }

  #collectLater(): void {
    this.process.after(COLLECT_INTERVAL_MS * (0.5 + this.world.workload.next()), () => {
      if (this.closed) return;
      this.collector.collect();
      this.#collectLater();
    });
  }

  // ---------------------------------------------------------------- values

  #encodeArgument(value: unknown): EncodedArgument | ObjectRef {
    if (value instanceof ObjectRef) return value;
    if (value instanceof Large) return this.putLarge(value);
    const written = write(value);
    const { tag, bytes } = encode(written, this.identity);
    return { tag, bytes, contained: written.contained };
  }

  /** Starts writing a large value; the reference settles when it is sealed. */
  putLarge(value: Large): ObjectRef {
    const ref = this.owner.objects.create();
    this.storeValue(value, this.options.processId,
      (stored) => this.owner.objects.settle(ref, { kind: 'stored', stored }),
      (error) => this.owner.objects.settle(ref, { kind: 'failed', error }));
    return ref;
  }

  /** Makes an inline value an object. */
  putInline(value: unknown): ObjectRef {
    const ref = this.owner.objects.create();
    const written = write(value);
    if (written.contained.length > 0) ref.detail = { contained: written.contained };
    this.owner.objects.settle(ref, { kind: 'encoded', value: encode(written, this.identity) });
    return ref;
  }

  /** Writes a value into this node's store, in the name of an owner. */
  storeValue(value: Large, ownerId: string, resume: (stored: StoredObject) => void, fail: (error: MusterError) => void): void {
    const storageId = storageIdFor(ownerId, this.options.processId, ++this.#storedCount);
    const written = write(value.content);
    this.store.put(storageId, encode(written, this.identity), value.sizeBytes,
      () => resume(new StoredObject(storageId, value.sizeBytes, [this.store.welcome!.endpoint!], written.contained)), fail);
  }

  /** What a function's tasks with these options share. A function is defined at its first use. */
  taskSpec(name: string, demand: Demand, options: TaskOptions): TaskSpec {
    let fn = this.#functions.get(name);
    if (!fn) this.#functions.set(name, (fn = this.owner.defineFunction(name, Buffer.from(name))));
    return this.owner.taskSpec(fn, demand, options);
  }

  /** This process's side of an actor, watched from its first use on. */
  actorClient(handle: { readonly actorId: string }): ActorClient {
    const known = this.owner.actors.known(handle.actorId);
    if (known) return known;
    this.toHead({ type: 'watchActor', actorId: handle.actorId });
    return this.owner.actors.client(handle.actorId as ActorId);
  }

  /** The arguments of a constructor. The references in them are held until `release`: a restart needs them again. */
  encodeCreation(args: readonly unknown[]): { readonly bytes: Uint8Array; readonly release: () => void } {
    const written = write(args);
    const { tag, bytes } = encode(written, this.identity);
    this.owner.objects.sendingRefs(written.contained);
    let isHeld = true;
    const release = (): void => {
      if (isHeld) this.owner.objects.sentRefs(written.contained);
      isHeld = false;
    };
    return { bytes: Buffer.concat([Buffer.of(tag), bytes]), release };
  }

  /** Remembers what the program finds as the reference's value: it must never find anything else. */
  *observe(ref: ObjectRef, program: Program<unknown>): Program<unknown> {
    const { ledger } = this.world;
    try {
      const value = yield* program;
      ledger.observed(ref.id, print(value));
      return value;
    } catch (error) {
      if (!this.closed) ledger.failed(ref.id, error as UserError | MusterError);
      throw error;
    }
  }

  /** The value of a composite. The references in it are held by `hold`. */
  decode(tag: number, bytes: Uint8Array, contained: readonly ObjectRef[], hold: (ref: ObjectRef) => ObjectRef): unknown {
    const known = new Map(contained.map((ref) => [ref.id, ref]));
    return decode(tag, bytes, (descriptor) => hold(known.get(descriptor.id) ?? this.owner.objects.adopt(descriptor, () => {})));
  }

  // ---------------------------------------------------------------- waiting

  /** Counts a wait of users' code while the program runs. */
  *waiting<Result>(program: Program<Result>): Program<Result> {
    this.waits.onChange(++this.waits.count);
    try {
      return yield* program;
    } finally {
      this.waits.onChange(--this.waits.count);
    }
  }

  /** Waits until all of the references have left pending, or one has failed. */
  *settled(refs: readonly ObjectRef[]): Program<void> {
    let pending = refs.filter((ref) => ref.state === RefState.pending);
    while (pending.length > 0) {
      if (this.closed) throw this.closed;
      for (const ref of pending) if (ref.detail?.foreign) this.owner.objects.wantValue(ref);
      let left = pending.length;
      const awaited = pending;
      yield* this.waiting(until<void>((resume) => {
        let isOver = false;
        for (const ref of awaited) onSettled(ref, () => {
          if (isOver || (--left > 0 && ref.state !== RefState.failed)) return;
          isOver = true;
          resume();
        });
      }));
      if (pending.some((ref) => ref.state === RefState.failed)) return;
      pending = pending.filter((ref) => ref.state === RefState.pending);
    }
  }

  /** The value of a reference. @throws the error it came to */
  *valueOf(ref: ObjectRef, hold: (ref: ObjectRef) => ObjectRef): Program<unknown> {
    for (let attempt = 1; ; attempt++) {
      if (!this.owner.objects.isReady(ref)) yield* this.settled([ref]);
      switch (ref.state) {
        case RefState.value: return ref.value;
        case RefState.encoded: return this.decode((ref.value as EncodedValue).tag, (ref.value as EncodedValue).bytes, ref.detail?.contained ?? [], hold);
        case RefState.failed: throw decodeError(ref.value as MusterError | EncodedValue);
      }
      const stored = ref.value as StoredObject;
      try {
        return yield* this.fetchValue(stored, hold);
      } catch (error) {
        if (!(error instanceof MusterError) || error.code !== 'OBJECT_LOST' || attempt >= FETCH_ATTEMPTS_MAX) throw error;
        if (ref.value === stored) this.owner.objects.lost(ref, stored.locations.map((at) => at.nodeId));
      }
    }
  }

  /** Reads a stored value. @throws MusterError OBJECT_LOST */
  *fetchValue(
    stored: { readonly storageId: string; readonly sizeBytes: number; readonly locations: readonly Endpoint[]; readonly contained: readonly ObjectRef[] },
    hold: (ref: ObjectRef) => ObjectRef,
  ): Program<unknown> {
    const { value, release } = yield* this.#fetch(stored);
    this.process.after(this.world.workload.next() * VIEW_LINGER_MAX_MS, release);
    return this.decode(value.tag, value.bytes, stored.contained, hold);
  }

  *#fetch(stored: { readonly storageId: string; readonly sizeBytes: number; readonly locations: readonly Endpoint[] }): Program<{ value: EncodedValue; release: () => void }> {
    const search = new Search(this.owner, stored.locations);
    for (;;) {
      try {
        return yield* until((resume, fail) => this.store.fetch({ ...stored, locations: search.locations }, resume, fail));
      } catch (error) {
        const pauseMs = error instanceof MusterError && error.code === 'OBJECT_LOST' ? search.failed(error) : null;
        if (pauseMs === null) throw error;
        yield* until<void>((resume) => { this.process.after(pauseMs, resume); });
      }
    }
  }

  // ---------------------------------------------------------------- end

  /** Ends the job in order. Calls back when the head has said goodbye. */
  endJob(done: () => void): void {
    this.#onJobEnded = () => {
      this.#onJobEnded = () => {};
      this.#shut(makeError('NOT_CONNECTED', { cause: 'was closed by shutdown()' }));
      done();
    };
    this.process.after(END_JOB_DEADLINE_MS, () => this.#onJobEnded());
    this.toHead({ type: 'endJob', cause: null });
  }

  #lostConnection(what: string, failure: MusterError | undefined): void {
    if (this.closed) return;
    const error = makeError('NOT_CONNECTED', { cause: `to ${what} was lost${failure ? `: ${failure.details['cause'] ?? failure.message}` : ''}` });
    this.#shut(error);
    this.options.onClosed(error);
  }

  #shut(error: MusterError): void {
    this.closed = error;
    this.owner.disconnected(error);
    for (const request of this.#requests.values()) request.fail(error);
    this.#requests.clear();
    this.#head?.end();
    this.store.close();
  }
}
