/** Runs an actor's constructor. */
import type { ActorId } from '@muster/base';
import type { StartActor } from '@muster/protocol';
import { interfaceOf, ObjectRef, type Session } from '@muster/core/internal';
import type { ActorTarget } from './actor-target.js';

/** Makes the instance; references among the constructor's arguments become their values. @throws what the constructor throws */
export async function startActor(session: Session, message: StartActor): Promise<ActorTarget> {
  const { creation } = message;
  const [Class, args] = (await session.decode(creation[0]!, creation.subarray(1), [], false)) as [new (...args: unknown[]) => object, unknown[]];
  const values = await Promise.all(args.map((arg) => (arg instanceof ObjectRef ? session.valueOf(arg, undefined) : arg)));
  const instance = new Class(...values) as ActorTarget['instance'];
  return {
    id: message.actorId as ActorId, name: message.name || message.className, methods: interfaceOf(Class as never).methods, instance, maxConcurrency: message.maxConcurrency,
  };
}
