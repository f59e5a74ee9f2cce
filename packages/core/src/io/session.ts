/**
 * One process's use of a cluster: the owner's machine wired to its edges. Drivers and workers have one session each; a worker's executor
 * uses the same session for the tasks that its tasks submit.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { formatSizeBytes, makeError, MusterError, newId, systemRandom, type JobId, type NodeId, type ProcessId } from '@muster/base';
import { Composite, isInlineString, type ClientQuery, type ClientToHead, type Endpoint, type HeadToClient, type LogLines, type RequestReply, type WorkerCommand } from '@muster/protocol';
import type { Handlers, RpcServer } from '@muster/protocol/rpc';
import { Owner } from '../machine/owner.js';
import { END_JOB_DEADLINE_MS, FETCH_ATTEMPTS_MAX, OWNER_TICK_MS } from '../machine/patience.js';
import { attachWaiter, EncodedValue, ObjectRef, RefState, StoredObject } from '../machine/reference.js';
import { storageIdFor } from '../machine/objects.js';
import { Search } from '../machine/search.js';
import { encodeComposite, INLINE_MAX_BYTES, layOutValue, sizeOf } from '../values/composite.js';
import { completeStack, encodeThrown, freshFailure } from '../values/errors.js';
import { Serializer, type Serialized, type SpecialForms } from '../values/serializer.js';
import { WeakForeignRefs } from './foreign-refs.js';
import type { HeadClient } from './head-client.js';
import type { openLine } from './lines.js';
import { answerQuery } from './queries.js';
import type { StoreClient } from './store-client.js';
import { AllSettled, SomeSettled } from './waits.js';

/** A function with what it refers to, and an actor's class with its constructor's arguments: sent to each worker that runs it. */
const CAPTURED_MAX_BYTES = 16 * 2 ** 20;

/** What a session is, before it is connected. */
export interface SessionOptions {
  readonly processId: ProcessId;
  readonly isDriver: boolean;
  /** Where this process listens. */
  readonly socketPath: string;
  readonly entrypoint: string;
  /** Handlers beside those of references: a worker's task stream. */
  readonly handlers: Handlers;
  readonly special: (session: Session) => SpecialForms;
  readonly onCommand: (command: WorkerCommand) => void;
  readonly onHeadMessage: (message: HeadToClient) => void;
  readonly onLog: ((lines: LogLines) => void) | null;
  /** The connection to the cluster is gone; everything pending has failed. */
  readonly onClosed: (failure: MusterError) => void;
}

/** The cluster to connect to. */
export interface SessionTarget {
  readonly headTarget: string;
  readonly daemonTarget: string;
  readonly token: string;
  /** Set for a submitted driver. */
  readonly jobId: string;
  /** Of a driver's job; an empty queue is the default one. */
  readonly queue: string;
  readonly priority: number;
  /** The address for TCP; empty: unix sockets only. A driver leaves it to its daemon (null). */
  readonly listenHost: string | null;
}

export class Session {
  readonly owner: Owner;
  readonly serializer: Serializer;
  jobId = '' as JobId;
  nodeId = '' as NodeId;
  /** Of a worker: the placement group in which what its tasks make runs, unless it names a placement; empty: none. */
  capturedBy = '';
  /** Resolves when the session is connected. */
  ready: Promise<void> = Promise.resolve();
  /** Waits of users' code that are going on; a worker gives back its cpu while its task waits. */
  readonly waits = { count: 0, onChange: (_count: number): void => {} };
  #connections: typeof import('./connections.js') | null = null;
  #server: RpcServer | null = null;
  #head: HeadClient | null = null;
  #store: StoreClient | null = null;
  #token = '';
  readonly #backlog: ClientToHead[] = [];
  readonly #collected = new FinalizationRegistry<{ sequence: number; stored: StoredObject; detail: NonNullable<ObjectRef['detail']> }>(({ sequence, stored, detail }) =>
    this.owner.objects.collected(sequence, stored, detail));
  #timer: NodeJS.Timeout | null = null;
  /** A driver ends by itself when its code has ended: its connections do not keep it alive, but its waits do. */
  readonly #keepAlive = setInterval(() => {}, 2 ** 30).unref();
  #holds = 0;
  #storedCount = 0;
  #closed: MusterError | null = null;

  /** Makes the session; tasks may be submitted at once and wait for the connection. */
  constructor(readonly options: SessionOptions) {
    const self = { processId: options.processId, endpoint: { nodeId: '', unixPath: options.socketPath, host: '', port: 0 }, nodeTimeoutMs: 0 };
    this.serializer = new Serializer(options.special(this));
    this.owner = new Owner(self, {
      nowMs: () => performance.now(),
      startTicks: () => { if (this.#head !== null) this.#startTicks(); }, // else connect() does
      random: () => systemRandom.next(),
      defer: (callback) => process.nextTick(callback),
      toHead: (message) => (this.#head ? this.#head.send(message) : this.#backlog.push(message)),
      openLine: (target, handlers) => this.#connections!.openLine(target, handlers, this.#self()),
      openLender: (target, handlers) => this.#connections!.openLender(target, handlers, this.#self()),
      judgeError: (error, retryOn, decide) => void this.#judge(error, retryOn).then(decide),
      needed: (needed) => { if (!options.isDriver) this.#store?.sayNeeded(needed); },
      freeStored: (objects) => { for (const stored of objects) this.store.free([stored.storageId], stored.locations); },
      watchCollection: (ref) => this.#collected.register(ref, { sequence: ref.sequence, stored: ref.value as StoredObject, detail: (ref.detail ??= {}) }),
      foreignRefs: new WeakForeignRefs((id, ownerId) => this.owner.borrowing.collected(id, ownerId)),
      encodeError: (error) => encodeThrown(this.serializer, error),
    }, (value) => this.encodeArgument(value));
  }

  #self(): Parameters<typeof openLine>[2] {
    return { processId: this.options.processId, nodeId: this.nodeId, token: this.#token, unref: this.options.isDriver };
  }

  /** Connects to the node's daemon and to the head. On failure everything submitted so far fails with it. @throws MusterError */
  connect(target: SessionTarget | Promise<SessionTarget>): Promise<void> {
    this.ready = this.#working(this.#connect(target)).catch((error: unknown) => {
      const failure = error instanceof MusterError ? error : makeError('NOT_CONNECTED', { cause: `failed: ${String((error as Error)?.stack ?? error)}` });
      this.#shut(failure);
      throw failure;
    });
    this.ready.catch(() => {}); // told to everybody who waits
    return this.ready;
  }

  async #connect(targetPromise: SessionTarget | Promise<SessionTarget>): Promise<void> {
    const { options, owner } = this;
    const [target, connections] = await Promise.all([targetPromise, import('./connections.js')]);
    const { RpcServer, HeadClient } = (this.#connections = connections);
    this.#token = target.token;
    this.#server = new RpcServer({
      token: target.token, self: `the process ${options.processId}`,
      handlers: { ...options.handlers, 'Peer.Objects': (stream) => owner.lending.serve(stream) },
    });
    await this.#server.listenUnix(owner.self.endpoint.unixPath);
    // A worker's daemon takes the store connection as its word that it listens: TCP must be up before.
    const port = target.listenHost ? await this.#server.listenTcp(target.listenHost, 0) : 0;
    const head = new HeadClient({
      target: target.headTarget, token: target.token, unref: options.isDriver,
      onMessage: (message) => this.#onHeadMessage(message), onClosed: (failure) => this.#lostConnection('the head', failure),
    });
    try {
      await this.#introduce(target, head, port);
    } catch (error) {
      head.close();
      throw error;
    }
    this.#startTicks();
    if (options.isDriver) this.#server.unref();
  }

  #startTicks(): void {
    if (this.#closed === null) this.#timer ??= setInterval(() => { if (!this.owner.tick(performance.now())) this.#stopTicks(); }, OWNER_TICK_MS).unref();
  }

  #stopTicks(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  /** To the daemon first: it says what node this is, which the head must hear. */
  async #introduce(target: SessionTarget, head: HeadClient, workerPort: number): Promise<void> {
    const { options, owner } = this;
    const { endpoint } = owner.self;
    this.#store = await this.#connections!.StoreClient.connect({
      target: target.daemonTarget, token: target.token, processId: options.processId, jobId: target.jobId, unref: options.isDriver,
      endpoint: { ...endpoint, host: target.listenHost ?? '', port: workerPort },
      onCommand: options.onCommand, onClosed: (failure) => this.#lostConnection('its node\'s daemon', failure),
    });
    const { endpoint: daemon, nodeId } = this.store.welcome;
    const host = target.listenHost ?? daemon?.host ?? '';
    const port = target.listenHost === null && host ? await this.#server!.listenTcp(host, 0) : workerPort;
    this.nodeId = nodeId as NodeId;
    owner.self.endpoint = { ...endpoint, nodeId, host, port };
    await head.hello({
      processId: options.processId, jobId: target.jobId, isDriver: options.isDriver, nodeId, pid: process.pid,
      endpoint: owner.self.endpoint, entrypoint: options.entrypoint, wantLogs: options.onLog !== null,
      queue: target.queue, priority: target.priority,
    });
    this.#head = head;
    owner.self.nodeTimeoutMs = head.welcome.nodeTimeoutMs;
    if (head.welcome.jobId) this.jobId = head.welcome.jobId as JobId; // a worker learns it with its first lease
    for (const message of this.#backlog.splice(0)) head.send(message);
  }

  /** Of the cluster. Await `ready` first. */
  get token(): string { return this.#token; }

  /** Asks the head. @throws MusterError the failure that it names */
  async request(message: (requestId: number) => ClientToHead): Promise<RequestReply> {
    await this.ready;
    return this.#working(this.head.request(message));
  }

  /** The connection to the head. Await `ready` first. */
  get head(): HeadClient {
    if (!this.#head) throw this.#closed ?? makeError('NOT_CONNECTED', { cause: 'is not there yet' });
    return this.#head;
  }

  /** The connection to the node's daemon. Await `ready` first. */
  get store(): StoreClient {
    if (!this.#store) throw this.#closed ?? makeError('NOT_CONNECTED', { cause: 'is not there yet' });
    return this.#store;
  }

  #onHeadMessage(message: HeadToClient): void {
    switch (message.type) {
      case 'logLines': return this.options.onLog?.(message);
      case 'clientQuery': return this.#answer(message);
      default:
        this.owner.fromHead(message);
        this.options.onHeadMessage(message);
    }
  }

  #answer(query: ClientQuery): void {
    this.head.send({ type: 'clientReply', requestId: query.requestId, json: JSON.stringify(answerQuery(this.owner, query)) });
  }

  // ---------------------------------------------------------------- values

  /** Encodes an argument for a record; large ones go to shared memory, and references pass as they are. */
  encodeArgument(value: unknown): ReturnType<Owner['encodeArgument']> {
    if (value instanceof ObjectRef) {
      this.#checkHolder(value);
      return value;
    }
    const serialized = this.serializer.serialize(value);
    if (sizeOf(serialized) >= INLINE_MAX_BYTES) return this.#putSerialized(copyBuffers(serialized));
    const { tag, bytes } = encodeComposite(serialized, this.owner.self);
    return { tag, bytes, contained: serialized.contained };
  }

  /** A function as it travels in a `define` record: tag, then bytes. */
  captureFunction(fn: object): { readonly head: Uint8Array; readonly contained: readonly ObjectRef[] } {
    const serialized = this.serializer.serialize(fn);
    return { head: this.encodeWhole(serialized), contained: serialized.contained };
  }

  /** A value as one block: the tag, then the composite's bytes. */
  encodeWhole(serialized: Serialized): Uint8Array {
    const { tag, bytes } = encodeComposite(serialized, this.owner.self);
    if (bytes.length > CAPTURED_MAX_BYTES) {
      throw makeError('CAPTURE', { detail: `it refers to ${formatSizeBytes(bytes.length)}, and at most ${formatSizeBytes(CAPTURED_MAX_BYTES)} travel with a function or an actor; put() large data and refer to the ObjectRef`, path: '<function>' });
    }
    return Buffer.concat([Buffer.of(tag), bytes]);
  }

  /** Makes a value an object. Resolves when it is readable by others. @throws ObjectStoreFullError, CaptureError */
  async put(value: unknown): Promise<ObjectRef> {
    const { objects } = this.owner;
    if (isInlinePrimitive(value)) {
      const ref = objects.create();
      ref.state = RefState.value;
      ref.value = value;
      return ref;
    }
    const serialized = this.serializer.serialize(value);
    if (sizeOf(serialized) < INLINE_MAX_BYTES) {
      const ref = objects.create();
      if (serialized.contained.length > 0) ref.detail = { contained: serialized.contained };
      objects.settle(ref, { kind: 'encoded', value: encodeComposite(serialized, this.owner.self) });
      return ref;
    }
    const ref = this.#putSerialized(serialized);
    await this.settled([ref]);
    if (ref.state === RefState.failed) throw ref.value;
    return ref;
  }

  /** Starts writing a large value; the reference settles when it is sealed. */
  #putSerialized(serialized: Serialized): ObjectRef {
    const ref = this.owner.objects.create();
    this.storeValue(serialized, this.options.processId).then(
      (stored) => this.owner.objects.settle(ref, { kind: 'stored', stored }),
      (error: MusterError) => this.owner.objects.settle(ref, { kind: 'failed', error }),
    );
    return ref;
  }

  /** Writes a value into this node's store, in the name of an owner. @throws ObjectStoreFullError */
  async storeValue(serialized: Serialized, ownerId: string): Promise<StoredObject> {
    return this.#working(this.#storeValue(serialized, ownerId));
  }

  async #storeValue(serialized: Serialized, ownerId: string): Promise<StoredObject> {
    await this.ready;
    const storageId = storageIdFor(ownerId, this.options.processId, ++this.#storedCount);
    const layout = layOutValue(serialized, this.owner.self);
    await this.store.put(storageId, layout, serialized.buffers);
    return new StoredObject(storageId, layout.sizeBytes, [this.store.welcome.endpoint!], serialized.contained);
  }

  /** The value of a composite. Buffers are copies, or views of shared memory when it is stored. @throws ObjectLostError */
  async decode(tag: number, bytes: Uint8Array, contained: readonly ObjectRef[], shared: boolean): Promise<unknown> {
    const loading = this.serializer.preload(tag, bytes);
    if (loading) await loading;
    return this.decodeLoaded(tag, bytes, contained, shared);
  }

  /** The same for bytes whose modules are loaded. */
  decodeLoaded(tag: number, bytes: Uint8Array, contained: readonly ObjectRef[], shared: boolean): unknown {
    const known = new Map(contained.map((ref) => [ref.id, ref]));
    return this.serializer.deserialize(tag, bytes, (descriptor) => known.get(descriptor.id) ?? this.owner.objects.adopt(descriptor, () => {}), shared);
  }

  // ---------------------------------------------------------------- waiting

  /** Resolves when all of the references have left pending, or one has failed. */
  async settled(refs: readonly ObjectRef[]): Promise<void> {
    let pending = refs.filter((ref) => ref.state === RefState.pending);
    while (pending.length > 0) {
      if (this.#closed) throw this.#closed;
      for (const ref of pending) if (ref.detail?.foreign) this.owner.objects.wantValue(ref);
      const all = new AllSettled(pending);
      this.beginWait();
      try {
        await all.done;
      } finally {
        this.endWait();
      }
      if (pending.some((ref) => ref.state === RefState.failed)) return;
      pending = pending.filter((ref) => ref.state === RefState.pending); // lost again meanwhile
    }
  }

  /** Resolves when `count` of the references have left pending, or after the time. */
  async someSettled(refs: readonly ObjectRef[], count: number, timeoutMs: number | undefined): Promise<void> {
    const pending = refs.filter((ref) => ref.state === RefState.pending);
    const missing = count - (refs.length - pending.length);
    if (missing <= 0) return;
    if (this.#closed) throw this.#closed;
    for (const ref of pending) if (ref.detail?.foreign) this.owner.objects.wantValue(ref);
    const some = new SomeSettled(pending, missing, timeoutMs);
    this.beginWait();
    try {
      await some.done;
    } finally {
      this.endWait();
      some.detach();
    }
  }

  beginWait(): void {
    this.#holdProcess();
    this.waits.onChange(++this.waits.count);
  }

  endWait(): void {
    this.waits.onChange(--this.waits.count);
    this.#releaseProcess();
  }

  #holdProcess(): void {
    if (this.#holds++ === 0) this.#keepAlive.ref();
  }

  #releaseProcess(): void {
    if (--this.#holds === 0) this.#keepAlive.unref();
  }

  /** Keeps the process alive for work of the runtime's own, which is no wait of users' code: a worker keeps its cpu meanwhile. */
  async #working<T>(promise: Promise<T>): Promise<T> {
    this.#holdProcess();
    try {
      return await promise;
    } finally {
      this.#releaseProcess();
    }
  }

  /** Counts a wait of users' code that is not for references alone. */
  async waiting<T>(promise: Promise<T>): Promise<T> {
    this.beginWait();
    try {
      return await promise;
    } finally {
      this.endWait();
    }
  }

  /** Calls back once when the reference has left pending. */
  onSettled(ref: ObjectRef, callback: () => void): void {
    if (ref.state === RefState.pending) attachWaiter(ref, { settled: () => callback() });
    else callback();
  }

  /** Told of each task that users' code submits: a worker ties it to the task that runs. */
  adoptChild: (ref: ObjectRef) => void = () => {};

  /** The value of a settled reference. @throws the error it came to */
  async valueOf(ref: ObjectRef, callerStack: string | undefined): Promise<unknown> {
    this.#checkHolder(ref);
    for (let attempt = 1; ; attempt++) {
      if (!this.owner.objects.isReady(ref)) await this.settled([ref]); // pending, or known to be on dead nodes only
      switch (ref.state) {
        case RefState.value: return ref.value;
        case RefState.encoded: {
          const { tag, bytes } = ref.value as EncodedValue;
          return this.decode(tag, bytes, ref.detail?.contained ?? [], false);
        }
        case RefState.failed: throw await this.errorOf(ref, callerStack);
      }
      const stored = ref.value as StoredObject;
      try {
        return await this.fetchValue(stored);
      } catch (error) {
        if (!(error instanceof MusterError) || error.code !== 'OBJECT_LOST' || attempt >= FETCH_ATTEMPTS_MAX) throw error;
        if (ref.value === stored) this.owner.objects.lost(ref, stored.locations.map((at: Endpoint) => at.nodeId));
      }
    }
  }

  /** Of an earlier connection of this process only those values are left that lie in its own memory. @throws MusterError NOT_CONNECTED */
  #checkHolder(ref: ObjectRef): void {
    if (ref.holder !== this.owner && ref.state === RefState.stored) throw makeError('NOT_CONNECTED', { cause: `that ${ref.id} belonged to has ended` });
  }

  /** Maps and decodes a stored value. @throws ObjectLostError */
  async fetchValue(stored: { readonly storageId: string; readonly sizeBytes: number; readonly locations: readonly Endpoint[]; readonly contained: readonly ObjectRef[] }): Promise<unknown> {
    const buffer = await this.#working(this.#fetch(stored));
    return this.decode(Composite.packed, new Uint8Array(buffer), stored.contained, true);
  }

  async #fetch({ storageId, sizeBytes, locations }: { readonly storageId: string; readonly sizeBytes: number; readonly locations: readonly Endpoint[] }): Promise<ArrayBuffer> {
    const search = new Search(this.owner, locations);
    for (;;) {
      try {
        return await this.store.fetch(storageId, sizeBytes, search.locations);
      } catch (error) {
        const pauseMs = error instanceof MusterError && error.code === 'OBJECT_LOST' ? search.failed(error) : null;
        if (pauseMs === null) throw error;
        await sleep(pauseMs);
      }
    }
  }

  /** The error of a failed reference, fresh for each caller. */
  async errorOf(ref: ObjectRef, callerStack: string | undefined): Promise<unknown> {
    const error = ref.value instanceof EncodedValue ? await this.decode(ref.value.tag, ref.value.bytes, [], false) : freshFailure(ref.value);
    completeStack(error, callerStack);
    return error;
  }

  async #judge(error: EncodedValue, retryOn: (error: unknown) => boolean): Promise<boolean> {
    try {
      return retryOn(await this.decode(error.tag, error.bytes, [], false));
    } catch {
      return false; // a predicate that throws does not ask for another attempt
    }
  }

  // ---------------------------------------------------------------- end

  get isClosed(): boolean {
    return this.#closed !== null;
  }

  /** Ends the job in order: its output has arrived, its tasks and actors are ended. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#keepAlive.ref();
    await this.ready.catch(() => {});
    if (this.options.isDriver) await this.#head?.endJob(END_JOB_DEADLINE_MS);
    this.#shut(makeError('NOT_CONNECTED', { cause: 'was closed by shutdown()' }));
  }

  #lostConnection(what: string, failure: MusterError | undefined): void {
    if (this.#closed) return;
    const error = makeError('NOT_CONNECTED', { cause: `to ${what} was lost${failure ? `: ${failure.details['cause'] ?? failure.message}` : ''}` }, { cause: failure });
    const wasConnected = this.#head !== null;
    this.#shut(error);
    if (wasConnected) this.options.onClosed(error); // before that, whoever waits for the connection hears of it
  }

  #shut(error: MusterError): void {
    this.#closed = error;
    this.#stopTicks();
    clearInterval(this.#keepAlive);
    this.owner.disconnected(error);
    this.#head?.close();
    this.#store?.close();
    this.#server?.close();
  }
}

/** What a reference holds as it is, and records hold in place. */
function isInlinePrimitive(value: unknown): boolean {
  switch (typeof value) {
    case 'object': return value === null;
    case 'string': return isInlineString(value);
    default: return typeof value !== 'function' && typeof value !== 'bigint' && typeof value !== 'symbol';
  }
}

function copyBuffers(serialized: Serialized): Serialized {
  return { ...serialized, buffers: serialized.buffers.map((buffer) => new Uint8Array(buffer)) };
}

/** A fresh process id for a driver. */
export const newDriverId = (): ProcessId => newId('driver', systemRandom);

