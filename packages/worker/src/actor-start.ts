/** Runs an actor's constructor. */
import type { ActorId } from '@muster/base';
import type { StartActor } from '@muster/protocol';
import { interfaceOf, ObjectRef, type Session } from '@muster/core/internal';
import type { ActorTarget } from './actor-target.js';

/** Makes the instance; references among the constructor's arguments become their values. @throws what the constructor or `restore` throws */
export async function startActor(session: Session, message: StartActor): Promise<ActorTarget> {
  const [Class, args] = (await decode(session, message.creation)) as [new (...args: unknown[]) => object, unknown[]];
  const instance = new Class(...(await valuesOf(session, args))) as ActorTarget['instance'];
  if (message.state.length > 0) await instance['restore']!(...(await valuesOf(session, (await decode(session, message.state)) as unknown[])));
  return {
    id: message.actorId as ActorId, name: message.name || message.className, methods: interfaceOf(Class as never).methods, instance, maxConcurrency: message.maxConcurrency,
  };
}

const decode = (session: Session, encoded: Uint8Array): Promise<unknown> => session.decode(encoded[0]!, encoded.subarray(1), [], false);

const valuesOf = (session: Session, args: readonly unknown[]): Promise<unknown[]> =>
  Promise.all(args.map((arg) => (arg instanceof ObjectRef ? session.valueOf(arg, undefined) : arg)));
