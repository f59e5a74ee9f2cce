/** `kill`: the end of an actor or a gang, on demand. */
import { killActor } from './actor.js';
import { requireSession } from './current.js';
import { gangClientOf, killGang } from './gang.js';

/** Ends an actor, or all members of a gang, now; calls under way fail with ActorDiedError. Resolves when it is dead. Nothing of it is restarted. */
export async function kill(handle: { readonly actorId: string } | { readonly gangId: string }): Promise<void> {
  const session = requireSession();
  const client = typeof handle === 'object' && handle !== null ? gangClientOf(handle) : undefined;
  await (client === undefined ? killActor(session, handle) : killGang(session, client));
}
