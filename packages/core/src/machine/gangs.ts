/**
 * The caller's side of gangs: what the head says of each one, told to those who wait. A gang that restarts together does so in one moment for all of its
 * members here too, so that no call made before reaches one member while it fails at another.
 */
import { describeDeath, makeError, type ActorId, type MusterError } from '@muster/base';
import { deathFromMessage, failureFromMessage, type GangState } from '@muster/protocol';
import type { ObjectRef } from './reference.js';
import type { Owner } from './owner.js';

export class GangClient {
  state: GangState | null = null;
  /** The error that ends every wait for this gang, once the connection to the cluster is gone. */
  lostWith: MusterError | null = null;
  /** References in what the head keeps of it: the constructor's arguments, and the last checkpoint. Held here, because the head cannot hold them. */
  #creationRefs: readonly ObjectRef[] = [];
  #checkpointRefs: readonly ObjectRef[] = [];
  readonly #watchers = new Set<(state: GangState | null) => void>();

  constructor(readonly id: string, readonly owner: Owner) {}

  /** Calls back at each change of state until it returns true; at once with the present one. Null: nothing more will be heard. */
  watch(callback: (state: GangState | null) => boolean): void {
    if ((this.state !== null || this.lostWith !== null) && callback(this.lostWith === null ? this.state : null)) return;
    const watcher = (state: GangState | null): void => {
      if (callback(state)) this.#watchers.delete(watcher);
    };
    this.#watchers.add(watcher);
  }

  onState(state: GangState): void {
    if (this.state !== null && (state.incarnation < this.state.incarnation || this.state.state === 'dead')) return;
    const restarts = this.state !== null && state.incarnation > this.state.incarnation;
    this.state = state;
    for (const actorId of state.actorIds) {
      const member = this.owner.actors.client(actorId as ActorId);
      member.restartsTogether = state.restartsTogether;
      if (restarts) member.startAnew(state.cause);
    }
    if (state.state === 'dead') this.#letGo();
    for (const watcher of [...this.#watchers]) watcher(state);
  }

  disconnected(error: MusterError): void {
    this.lostWith = error;
    for (const watcher of [...this.#watchers]) watcher(null);
  }

  /** Keeps what the constructor's arguments refer to alive, as long as the gang may start anew. */
  holdCreation(refs: readonly ObjectRef[]): void {
    this.owner.objects.sendingRefs(refs);
    this.#creationRefs = refs;
    if (this.state?.state === 'dead') this.#letGo();
  }

  /** Keeps a checkpoint's states alive in place of the last one's. */
  holdCheckpoint(refs: readonly ObjectRef[]): void {
    this.owner.objects.sendingRefs(refs);
    this.owner.objects.sentRefs(this.#checkpointRefs);
    this.#checkpointRefs = refs;
    if (this.state?.state === 'dead') this.#letGo();
  }

  /** Why the gang is dead. */
  deadError(what: string): MusterError {
    if (this.state?.failure) return failureFromMessage(this.state.failure);
    const cause = this.state?.cause ? describeDeath(deathFromMessage(this.state.cause)) : 'is not alive';
    return makeError('GANG_DIED', { what, gang: this.id, cause });
  }

  #letGo(): void {
    this.owner.objects.sentRefs(this.#creationRefs);
    this.owner.objects.sentRefs(this.#checkpointRefs);
    this.#creationRefs = this.#checkpointRefs = [];
  }
}

export class GangClients {
  readonly #clients = new Map<string, GangClient>();

  constructor(readonly owner: Owner) {}

  /** The client of a gang; made when it first appears in this process. */
  client(id: string): GangClient {
    let client = this.#clients.get(id);
    if (client === undefined) this.#clients.set(id, (client = new GangClient(id, this.owner)));
    return client;
  }

  known(id: string): GangClient | undefined {
    return this.#clients.get(id);
  }

  onState(state: GangState): void {
    this.client(state.gangId).onState(state);
  }

  /** Nothing more will be heard of any gang. */
  disconnected(error: MusterError): void {
    for (const client of this.#clients.values()) client.disconnected(error);
  }
}
