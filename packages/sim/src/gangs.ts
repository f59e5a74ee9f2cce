/** What users' code in the simulation can do with gangs, as @muster/core's `gang` does it. */
import { newId, parseResources, type ActorId } from '@muster/base';
import { NO_PLACEMENT, type GangState } from '@muster/protocol';
import { EncodedValue, type GangClient } from '@muster/core/internal';
import type { ActorHandle, CodeContext } from './code-context.js';
import { until, type Program } from './program.js';
import { decodeError } from './values.js';

/** How a gang is made. */
export interface GangOptions {
  readonly size: number;
  readonly strategy: string;
  readonly onFailure: 'fail' | 'restart-all' | 'restart-member';
}

/** A gang, with its members by rank. */
export interface GangHandle {
  readonly gangId: string;
  readonly members: readonly ActorHandle[];
}

/** Members of one cpu each, which may start anew as often as they must. @throws what a constructor threw, or why the gang is no more */
export function* makeGang({ session }: CodeContext, className: string, args: readonly unknown[], { size, strategy, onFailure }: GangOptions): Program<GangHandle> {
  const { workload, ledger } = session.world;
  const gangId = newId('gang', workload);
  const maxRestarts = onFailure === 'fail' ? 0 : -1;
  const actorIds = Array.from({ length: size }, () => newId('actor', workload));
  for (const actorId of actorIds) ledger.actorCreated(actorId, { maxRestarts });
  if (onFailure === 'restart-member') ledger.restartsAlone(gangId);
  const amounts = parseResources({ cpus: 1 });
  ledger.bundles.groupCreated(gangId.replace('gang-', 'pg-'), actorIds.map(() => amounts));
  const creation = session.encodeCreation(args);
  const client = session.owner.gangs.client(gangId);
  yield* session.request((requestId) => ({
    type: 'createGang', requestId, gangId, name: '', className, actorIds, demand: { resources: { amounts }, placement: NO_PLACEMENT, waitForNodes: false, expectedDurationMs: 0 }, strategy, topology: [],
    waitForNodes: false, onFailure, maxRestarts, maxConcurrency: 1, maxPendingCalls: 0, creation: creation.bytes, interface: Buffer.from(className),
  }));
  const { state, creationError } = yield* reached(session, client, ['alive', 'dead']);
  if (state === 'dead' && creationError.length > 0) throw decodeError(new EncodedValue(creationError[0]!, creationError.subarray(1)));
  if (state === 'dead') throw client.deadError(`the creation of ${gangId}`);
  for (const actorId of actorIds) session.owner.actors.own(session.owner.actors.client(actorId as ActorId));
  return { gangId, members: actorIds.map((actorId) => ({ actorId, className })) };
}

/** Members that start anew take over these states, by rank. */
export function saveGang({ session }: CodeContext, { gangId }: GangHandle, states: readonly number[]): void {
  session.toHead({ type: 'gangCheckpoint', gangId, members: states.map((state) => ({ state: session.encodeCreation([state]).bytes })) });
}

/** Ends all members, and waits for that. */
export function* killGang({ session }: CodeContext, { gangId }: GangHandle): Program<void> {
  session.toHead({ type: 'killGang', gangId, reason: `kill() by ${session.options.processId}` });
  yield* reached(session, session.owner.gangs.client(gangId), ['dead']);
}

function* reached(session: CodeContext['session'], client: GangClient, states: readonly string[]): Program<GangState> {
  return yield* session.waiting(until<GangState>((resume, fail) => {
    client.watch((state) => {
      if (state === null) fail(client.lostWith);
      else if (states.includes(state.state)) resume(state);
      else return false;
      return true;
    });
  }));
}
