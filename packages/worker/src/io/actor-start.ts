/** Runs an actor's constructor. */
import type { StartActor } from '@muster/protocol';
import { interfaceOf, ObjectRef, type Session } from '@muster/core/internal';

/** An actor that was made. */
export interface StartedActor {
  readonly instance: Record<string, (...args: unknown[]) => unknown>;
  /** In the order of their numbers. */
  readonly methods: readonly string[];
}

/** Makes the instance; references among the constructor's arguments become their values. @throws what the constructor or `restore` throws */
export async function startActor(session: Session, message: StartActor): Promise<StartedActor> {
  const [Class, args] = (await decode(session, message.creation)) as [new (...args: unknown[]) => object, unknown[]];
  const instance = new Class(...(await valuesOf(session, args))) as StartedActor['instance'];
  if (message.state.length > 0) await instance['restore']!(...(await valuesOf(session, (await decode(session, message.state)) as unknown[])));
  return { instance, methods: interfaceOf(Class as never).methods.map(({ name }) => name) };
}

const decode = (session: Session, encoded: Uint8Array): Promise<unknown> => session.decode(encoded[0]!, encoded.subarray(1), [], false);

const valuesOf = (session: Session, args: readonly unknown[]): Promise<unknown[]> =>
  Promise.all(args.map((arg) => (arg instanceof ObjectRef ? session.valueOf(arg, undefined) : arg)));
