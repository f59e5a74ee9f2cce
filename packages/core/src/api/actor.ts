/** `actor(Class)`: instances that live on the cluster, and the handles through which they are called. */
import { makeError, newId, systemRandom, type ActorId } from '@muster/base';
import type { ActorState } from '@muster/protocol';
import type { Session } from '../io/session.js';
import type { ActorClient } from '../machine/actors.js';
import type { ObjectRef } from '../machine/reference.js';
import { TaskSpec } from '../machine/task-spec.js';
import { requireSession } from './current.js';
import { optionsToText } from './placement-group.js';
import { checkActorOptions, checkCallOptions, demandOf, isGenerator, mergeOptions, nameOf } from './options.js';
import { getOne, iterateStream } from './references.js';
import { cancelOnAbort } from './remote.js';
import { FORM, type SpecialForm } from './special.js';
import type { ActorClass, ActorHandle, ActorOptions, CallOptions } from './types.js';

type AnyClass = new (...args: never[]) => unknown;

/** What a handle must know of a class: its methods, in a fixed order. A method's place is its number on the wire. */
export interface ActorInterface {
  readonly className: string;
  readonly methods: readonly { readonly name: string; readonly streaming: boolean }[];
}

/** The public methods of a class and its ancestors. */
export function interfaceOf(Class: AnyClass): ActorInterface {
  const methods = new Map<string, boolean>();
  for (let proto: object = Class.prototype as object; proto && proto !== Object.prototype; proto = Object.getPrototypeOf(proto) as object) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(proto))) {
      if (name !== 'constructor' && typeof value === 'function' && !methods.has(name)) methods.set(name, isGenerator(value));
    }
  }
  return { className: nameOf(Class), methods: [...methods].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, streaming]) => ({ name, streaming })) };
}

/**
 * Makes a class remote: `create` starts an instance in a process of its own, and its handle turns each public method into its remote form.
 * Calls of one caller run in the order they were made.
 *
 * @example
 * class Counter { #n = 0; add(k = 1) { return (this.#n += k); } }
 * const counter = await actor(Counter).create();
 * await counter.add(2);            // 2
 */
export function actor<C extends AnyClass>(Class: C, options: ActorOptions = {}): ActorClass<C> {
  if (typeof Class !== 'function') throw makeError('INVALID_ARGUMENT', { what: `actor(${typeof Class})`, want: 'a class' });
  if ((Class as { prototype?: unknown }).prototype === undefined) throw makeError('INVALID_ARGUMENT', { what: `actor(${Class.name || 'a function'})`, want: 'a class; remote() makes a function remote' });
  checkActorOptions(options);
  const form: SpecialForm = { form: 'actor-class', parts: [Class, optionsToText(options)] };
  return Object.assign({
    create: (...args: unknown[]) => createActor(Class, options, args),
    options: (more: ActorOptions) => actor(Class, mergeOptions(options, more)),
  }, { [FORM]: form }) as unknown as ActorClass<C>;
}

async function createActor(Class: AnyClass, options: ActorOptions, args: readonly unknown[]): Promise<object> {
  const session = requireSession();
  const serialized = session.serializer.serialize([Class, args]);
  const creation = session.encodeWhole(serialized);
  const actorInterface = interfaceOf(Class);
  const { owner } = session;
  owner.objects.sendingRefs(serialized.contained); // held until the actor is dead: a restart needs them again
  const actorId = newId('actor', systemRandom);
  const reply = await session.request((requestId) => ({
    type: 'createActor', requestId, actorId, name: options.name ?? '', className: actorInterface.className,
    detached: options.lifetime === 'detached', getIfExists: options.getIfExists ?? false, demand: demandOf(options, 0, session.capturedBy),
    maxRestarts: options.maxRestarts ?? 0, maxConcurrency: options.maxConcurrency ?? 1, creation,
    maxPendingCalls: options.maxPendingCalls ?? 0, interface: Buffer.from(JSON.stringify(actorInterface)),
  }));
  const client = owner.actors.client(reply.actorId as ActorId);
  client.watch((state) => {
    if (state.state === 'dead') owner.objects.sentRefs(serialized.contained);
    return state.state === 'dead';
  });
  if (reply.actorId === actorId && options.lifetime !== 'detached') owner.actors.own(client);
  const state = await alive(session, client);
  return makeHandle(session, client, JSON.parse(Buffer.from(state.interface).toString()) as ActorInterface);
}

/** Resolves when the actor has been alive. @throws what its constructor threw, or why it died */
async function alive(session: Session, client: ActorClient): Promise<ActorState> {
  const state = await session.waiting(new Promise<ActorState | null>((resolve) => {
    client.watch((now) => {
      if (now.state !== 'alive' && now.state !== 'dead' && !client.lostWith) return false;
      resolve(client.lostWith ? null : now);
      return true;
    });
  }));
  if (!state) throw client.lostWith!;
  if (state.state === 'alive') return state;
  if (state.creationError.length > 0) {
    throw await session.decode(state.creationError[0]!, state.creationError.subarray(1), [], false);
  }
  throw client.deadError(`the creation of ${state.className}`);
}

/** The living actor of a name, whichever job made it. @throws MusterError ACTOR_NOT_FOUND, INVALID_ARGUMENT */
export async function getActor<T>(name: string): Promise<ActorHandle<T>> {
  if (typeof name !== 'string') throw makeError('INVALID_ARGUMENT', { what: `getActor(${typeof name})`, want: 'the name of an actor' });
  const session = requireSession();
  const reply = await session.request((requestId) => ({ type: 'getActor', requestId, name }));
  const client = session.owner.actors.client(reply.actorId as ActorId);
  const state = await alive(session, client);
  return makeHandle(session, client, JSON.parse(Buffer.from(state.interface).toString()) as ActorInterface) as ActorHandle<T>;
}

/** Ends an actor now; calls under way fail with ActorDiedError. Resolves when it is dead. It is not restarted. */
export async function killActor(session: Session, handle: object): Promise<void> {
  const client = clientOf(handle);
  await session.ready;
  const dead = session.waiting(new Promise<void>((resolve) => {
    client.watch((state) => {
      if (state.state !== 'dead' && !client.lostWith) return false;
      resolve();
      return true;
    });
  }));
  session.head.send({ type: 'killActor', actorId: client.id, noRestart: true, incarnation: 0, reason: `kill() by ${session.options.processId}` });
  await dead;
}

// ---------------------------------------------------------------- handles

const CLIENT: unique symbol = Symbol('muster.actor-client');

function clientOf(handle: object): ActorClient {
  const client = (handle as { [CLIENT]?: ActorClient })[CLIENT];
  if (!client) throw makeError('INVALID_ARGUMENT', { what: 'the argument of kill()', want: 'the handle of an actor or a gang' });
  return client;
}

/** A handle that arrived in a value. */
export function handleFromParts(session: Session, [actorId, actorInterface, maxPendingCalls]: readonly unknown[]): object {
  const known = session.owner.actors.known(actorId as string);
  const client = known ?? session.owner.actors.client(actorId as ActorId);
  if (!known) {
    client.maxPendingCalls = maxPendingCalls as number;
    session.owner.ports.toHead({ type: 'watchActor', actorId: actorId as string });
  }
  return makeHandle(session, client, JSON.parse(actorInterface as string) as ActorInterface);
}

/** The handle of an actor with this interface. */
export function makeHandle(session: Session, client: ActorClient, actorInterface: ActorInterface): object {
  const form: SpecialForm = { form: 'actor-handle', parts: [client.id, JSON.stringify(actorInterface), client.maxPendingCalls] };
  const handle: Record<PropertyKey, unknown> = Object.create(HANDLE_PROTOTYPE) as Record<PropertyKey, unknown>;
  Object.defineProperties(handle, {
    actorId: { value: client.id, enumerable: true },
    [CLIENT]: { value: client },
    [FORM]: { value: form },
    [Symbol.for('nodejs.util.inspect.custom')]: { value: () => `ActorHandle<${actorInterface.className}>(${client.id})` },
  });
  actorInterface.methods.forEach(({ name, streaming }, index) => {
    let method: unknown; // made when it is first used: a class may have many
    const label = `${actorInterface.className}.${name}`;
    Object.defineProperty(handle, name, { get: () => (method ??= makeMethod({ session, client, index, label, streaming }, {})) });
  });
  return handle;
}

/** Without `then`, so that a handle may be returned from async functions. */
const HANDLE_PROTOTYPE = Object.freeze(Object.create(null, { toString: { value: () => '[object ActorHandle]' } }) as object);

interface MethodSite {
  readonly session: Session;
  readonly client: ActorClient;
  readonly index: number;
  readonly label: string;
  readonly streaming: boolean;
}

function makeMethod(site: MethodSite, options: CallOptions): unknown {
  const { session, client, index, label, streaming } = site;
  const spec = new TaskSpec(client, null, index, { name: label, retries: options.retries ?? 0, retryOn: null, timeoutMs: 0, streaming });
  const submit = (args: readonly unknown[]): ObjectRef => {
    if (client.lostWith) throw client.lostWith;
    client.checkRoom();
    const ref = session.owner.submit(spec, args);
    client.pendingCount++;
    if (options.signal) cancelOnAbort(session, ref, options.signal);
    return ref;
  };
  const call = streaming
    ? async function* (...args: unknown[]) { for await (const ref of iterateStream(session, submit(args))) yield await getOne(session, ref); }
    : (...args: unknown[]) => {
        try {
          return getOne(session, submit(args));
        } catch (error) {
          return Promise.reject(error as Error);
        }
      };
  return Object.assign(call, {
    remote: (...args: unknown[]) => (streaming ? iterateStream(session, submit(args)) : submit(args)),
    options: (more: CallOptions) => {
      checkCallOptions(more);
      return makeMethod(site, { ...options, ...more });
    },
  });
}

