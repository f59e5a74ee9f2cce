/** `gang(Class)`: actors that start together or not at all, know their ranks, and end or start anew together. */
import { formatDurationMs, makeError, newId, systemRandom } from '@muster/base';
import type { CreateGang, GangState } from '@muster/protocol';
import type { Session } from '../io/session.js';
import type { GangClient } from '../machine/gangs.js';
import { RefState, type ObjectRef, type StoredObject } from '../machine/reference.js';
import { interfaceOf, makeHandle, type ActorInterface } from './actor.js';
import { requireSession } from './current.js';
import { checkGangOptions, mergeOptions } from './options.js';
import { groupRequestOf } from './placement-group.js';
import { FORM, type SpecialForm } from './special.js';
import type { ActorHandle, GangClass, GangHandle, GangOptions } from './types.js';

type AnyClass = new (...args: never[]) => unknown;
/** A member's handle as this module uses it: by the names of methods. */
type Member = ActorHandle<Record<string, (...args: unknown[]) => unknown>> & Record<string, GangMethodSite>;
type GangMethodSite = ((...args: unknown[]) => unknown) & { readonly remote: (...args: unknown[]) => unknown };

const RESTARTS_DEFAULT = 3;

/**
 * Makes a class a gang: `create` starts `size` actors, each in a bundle of one placement group, all of them or none. Each finds its rank in
 * `context().gang`.
 *
 * @example
 * const trainers = await gang(Trainer, { size: 4, gpus: 1, strategy: 'strict-pack' }).create(config);
 * const losses = await trainers.all.step(batch);      // by rank
 */
export function gang<C extends AnyClass>(Class: C, options: GangOptions): GangClass<C> {
  if (typeof Class !== 'function') throw makeError('INVALID_ARGUMENT', { what: `gang(${typeof Class})`, want: 'a class' });
  if ((Class as { prototype?: unknown }).prototype === undefined) throw makeError('INVALID_ARGUMENT', { what: `gang(${Class.name || 'a function'})`, want: 'a class' });
  checkGangOptions(options);
  requestOf(options);
  const form: SpecialForm = { form: 'gang-class', parts: [Class, JSON.stringify(options)] };
  return Object.assign({
    create: (...args: unknown[]) => createGang(Class, options, args),
    options: (more: Partial<GangOptions>) => gang(Class, mergeOptions(options, more as GangOptions)),
  }, { [FORM]: form }) as unknown as GangClass<C>;
}

async function createGang(Class: AnyClass, options: GangOptions, args: readonly unknown[]): Promise<object> {
  const session = requireSession();
  const serialized = session.serializer.serialize([Class, args]);
  const creation = session.encodeWhole(serialized);
  const actorInterface = interfaceOf(Class);
  const gangId = newId('gang', systemRandom);
  const actorIds = Array.from({ length: options.size }, () => newId('actor', systemRandom));
  const { onFailure = 'fail' } = options;
  const client = session.owner.gangs.client(gangId);
  client.holdCreation(serialized.contained);
  await session.request((requestId) => ({
    ...requestOf(options), type: 'createGang', requestId, gangId, className: actorInterface.className, actorIds, onFailure, maxRestarts: onFailure === 'fail' ? 0 : (options.maxRestarts ?? RESTARTS_DEFAULT), maxConcurrency: options.maxConcurrency ?? 1,
    maxPendingCalls: options.maxPendingCalls ?? 0, creation, interface: Buffer.from(JSON.stringify(actorInterface)),
  }));
  await alive(session, client, `the creation of the gang ${options.name ?? actorInterface.className}`, options.timeoutMs);
  const members = actorIds.map((id) => {
    const member = session.owner.actors.client(id);
    session.owner.actors.own(member);
    return makeHandle(session, member, actorInterface) as Member;
  });
  return makeGang(session, client, members, actorInterface);
}

/** How the members are to lie: all bundles of their group are alike. @throws MusterError INVALID_ARGUMENT */
function requestOf({ cpus = 1, gpus, memory, resources, labels, strategy, topology, name, timeoutMs, waitForNodes }: GangOptions): GangRequest {
  const { bundles: [demand], ...request } = groupRequestOf([{ cpus, gpus, memory, resources, labels }], { strategy, topology, name, timeoutMs, waitForNodes });
  return { ...request, demand: demand! };
}

type GangRequest = Pick<CreateGang, 'demand' | 'strategy' | 'topology' | 'name' | 'waitForNodes'>;

/** Resolves when all constructors have run. @throws what a constructor threw, why the gang cannot be placed, or TimeoutError; then the gang is no more */
async function alive(session: Session, client: GangClient, what: string, timeoutMs: number | undefined): Promise<void> {
  let isLate = false;
  const timer = timeoutMs === undefined ? undefined : setTimeout(() => {
    isLate = true;
    session.head.send({ type: 'killGang', gangId: client.id, reason: 'it was not there in time' });
  }, timeoutMs);
  const state = await session.waiting(settled(client, ['alive', 'dead']));
  clearTimeout(timer);
  if (state.state === 'alive') return;
  if (isLate) throw makeError('TIMEOUT', { what: state.reasons === '' ? what : `${what} (${state.reasons})`, limit: formatDurationMs(timeoutMs!) });
  if (state.creationError.length > 0) throw await session.decode(state.creationError[0]!, state.creationError.subarray(1), [], false);
  throw client.deadError(what);
}

/** Resolves when the gang is in one of these states. @throws MusterError when the connection is gone */
function settled(client: GangClient, states: readonly string[]): Promise<GangState> {
  return new Promise((resolve, reject) => {
    client.watch((state) => {
      if (state === null) reject(client.lostWith!);
      else if (!states.includes(state.state)) return false;
      else resolve(state);
      return true;
    });
  });
}

// ---------------------------------------------------------------- handles

const CLIENT: unique symbol = Symbol('muster.gang-client');

/** The client behind a gang's handle; undefined for anything else. */
export function gangClientOf(handle: object): GangClient | undefined {
  return (handle as { [CLIENT]?: GangClient })[CLIENT];
}

/** Ends a gang now: all of its members. Resolves when it is dead. */
export async function killGang(session: Session, client: GangClient): Promise<void> {
  await session.ready;
  session.head.send({ type: 'killGang', gangId: client.id, reason: `kill() by ${session.options.processId}` });
  await session.waiting(settled(client, ['dead'])).catch(() => {}); // without a connection it ends, too
}

/** A handle that arrived in a value. */
export function gangFromParts(session: Session, [gangId, actorInterface, ...members]: readonly unknown[]): object {
  const known = session.owner.gangs.known(gangId as string);
  const client = known ?? session.owner.gangs.client(gangId as string);
  if (known === undefined) session.owner.ports.toHead({ type: 'watchGang', gangId: gangId as string });
  return makeGang(session, client, members as Member[], JSON.parse(actorInterface as string) as ActorInterface);
}

function makeGang(session: Session, client: GangClient, members: readonly Member[], actorInterface: ActorInterface): object {
  const form: SpecialForm = { form: 'gang-handle', parts: [client.id, JSON.stringify(actorInterface), ...members] };
  const all: Record<string, unknown> = {};
  for (const { name, streaming } of actorInterface.methods) all[name] = onAll(members, name, streaming);
  return Object.defineProperties({} as GangHandle<unknown>, {
    gangId: { value: client.id, enumerable: true },
    size: { value: members.length, enumerable: true },
    incarnation: { get: () => client.state?.incarnation ?? 1, enumerable: true },
    members: { value: Object.freeze([...members]), enumerable: true },
    all: { value: Object.freeze(all) },
    checkpoint: { value: () => takeCheckpoint(session, client, members, actorInterface) },
    [CLIENT]: { value: client },
    [FORM]: { value: form },
    [Symbol.for('nodejs.util.inspect.custom')]: { value: () => `GangHandle<${actorInterface.className}>(${client.id}, ${members.length} members)` },
  });
}

/** One method of every member. */
function onAll(members: readonly Member[], name: string, streaming: boolean): unknown {
  const each = (args: readonly unknown[]): unknown[] => members.map((member) => member[name]!(...args));
  return Object.assign((...args: unknown[]) => (streaming ? each(args) : Promise.all(each(args))), {
    remote: (...args: unknown[]) => members.map((member) => member[name]!.remote(...args)),
  });
}

/**
 * Because calls of one caller run in their order on every member, those of `checkpoint` fall between the same calls everywhere: together they are a
 * consistent state. It counts when all of it is there.
 */
async function takeCheckpoint(session: Session, client: GangClient, members: readonly Member[], { className, methods }: ActorInterface): Promise<void> {
  const missing = ['checkpoint', 'restore'].filter((name) => !methods.some((method) => method.name === name));
  if (missing.length > 0) throw makeError('INVALID_ARGUMENT', { what: `checkpoint() of ${className}`, want: `of a class with the methods checkpoint() and restore(state); it lacks ${missing.join(' and ')}` });
  const incarnation = client.state?.incarnation;
  const states = await Promise.all(members.map((member) => member['checkpoint']!.remote() as ObjectRef).map((ref) => kept(session, ref)));
  if (client.lostWith !== null) throw client.lostWith;
  if (client.state?.state === 'dead') throw client.deadError('the checkpoint');
  if (client.state?.restartsTogether && client.state.incarnation !== incarnation) {
    throw makeError('ACTOR_UNAVAILABLE', { what: 'the checkpoint', actor: client.id, cause: 'started anew meanwhile' });
  }
  const refs: ObjectRef[] = [];
  const encoded = states.map((state) => {
    const serialized = session.serializer.serialize([state]);
    refs.push(...serialized.contained);
    return { state: session.encodeWhole(serialized) };
  });
  client.holdCheckpoint(refs);
  session.head.send({ type: 'gangCheckpoint', gangId: client.id, members: encoded });
}

/** A state that outlives the node of the member that gave it: an object of this process, on its own node. @throws what `checkpoint` threw */
async function kept(session: Session, ref: ObjectRef): Promise<ObjectRef> {
  await session.settled([ref]);
  if (ref.state === RefState.failed) throw await session.errorOf(ref, undefined);
  const isElsewhere = ref.state === RefState.stored && !(ref.value as StoredObject).locations.some(({ nodeId }) => nodeId === session.nodeId);
  return isElsewhere ? session.put(await session.valueOf(ref, undefined)) : ref;
}
