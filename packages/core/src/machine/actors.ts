/**
 * The caller's side of actors: one queue of calls for each actor, in the order they were made, and one line to the worker where it lives.
 * Calls wait while the actor starts or restarts; those under way when it dies fail, or are made again if their options say so.
 */
import { describeDeath, makeError, type ActorId, type MusterError } from '@muster/base';
import { deathFromMessage, type ActorState, type Death } from '@muster/protocol';
import { fillLine } from './fill.js';
import type { Line } from './line.js';
import type { Owner } from './owner.js';
import { SlotQueue } from './slot-queue.js';
import { SlotState } from './slots.js';
import type { TaskSpec } from './task-spec.js';

export class ActorClient extends SlotQueue {
  state: ActorState | null = null;
  /** How many calls may be pending; 0: any number. A handle that arrives brings it along: the state comes later. */
  maxPendingCalls = 0;
  /** It is a member of a gang that restarts together: a call whose fate nobody knows is a reason to. */
  restartsTogether = false;
  /** Calls made and not ended. */
  pendingCount = 0;
  readonly #watchers = new Set<(state: ActorState) => void>();

  constructor(readonly id: ActorId, readonly owner: Owner) {
    super();
  }

  pump(nowMs: number): void {
    const line = this.lines[0];
    if (line?.isUsable) {
      fillLine(this.owner, line, Infinity, nowMs);
      line.flush();
    }
    if (this.state?.state === 'dead') this.failAll();
  }

  /** Calls back at each change of state until it returns true; at once with the present one. */
  watch(callback: (state: ActorState) => boolean): void {
    if (this.state && callback(this.state)) return;
    const watcher = (state: ActorState): void => {
      if (callback(state)) this.#watchers.delete(watcher);
    };
    this.#watchers.add(watcher);
  }

  onState(state: ActorState): void {
    if (this.state && (state.incarnation < this.state.incarnation || this.state.state === 'dead')) return;
    this.state = state;
    this.maxPendingCalls = state.maxPendingCalls;
    const line = this.lines[0];
    if (line && (state.state !== 'alive' || state.incarnation !== line.target.incarnation)) this.#lineEnded(line);
    if (state.state === 'alive' && this.lines.length === 0 && state.endpoint) {
      this.lines.push(this.owner.lines.open(this, { endpoint: state.endpoint, workerId: state.workerId, leaseId: '', actorId: this.id, incarnation: state.incarnation }));
    }
    for (const watcher of [...this.#watchers]) watcher(state);
    this.owner.markDirty(this);
  }

  /**
   * Its gang starts anew, and this member with it: the calls made before fail, also those that have not been sent, whatever their options say, because
   * the other members have lost theirs.
   */
  startAnew(cause: Death | null): void {
    if (this.state === null || this.state.state === 'dead') return;
    const { owner } = this;
    const line = this.lines[0];
    const sent = line === undefined ? [] : owner.lines.slotsOn(line);
    this.lines.length = 0;
    if (line !== undefined) owner.lines.forget(line);
    const waiting = this.ring.drain();
    this.state = { ...this.state, state: 'restarting', incarnation: this.state.incarnation + 1, cause, endpoint: null };
    for (const slot of sent) {
      owner.lines.leave(line!, slot);
      if (owner.slots.states[slot] === SlotState.abandoned) owner.releaseSlot(slot);
      else owner.failTaken(slot, this.#interruptedError(owner.slots.specs[slot]!));
    }
    for (const slot of waiting) owner.failTaken(slot, this.#interruptedError(owner.slots.specs[slot]!));
  }

  /** The error that ends every wait for this actor, once the connection to the cluster is gone. */
  lostWith: MusterError | null = null;

  disconnected(error: MusterError): void {
    this.lostWith = error;
    this.ring.drain();
    this.lines.length = 0;
    for (const watcher of [...this.#watchers]) if (this.state) watcher(this.state);
  }

  /** @throws MusterError BACKPRESSURE */
  checkRoom(): void {
    const limit = this.maxPendingCalls;
    if (limit > 0 && this.pendingCount >= limit) throw makeError('BACKPRESSURE', { what: `the actor ${this.id}`, pending: this.pendingCount, limit });
  }

  lineTimedOut(line: Line): void {
    const { incarnation } = line.target;
    this.#lineEnded(line);
    if (!this.restartsTogether) return this.owner.ports.toHead({ type: 'watchActor', actorId: this.id });
    this.owner.ports.toHead({ type: 'killActor', actorId: this.id, noRestart: false, incarnation, reason: 'the connection to it was lost' });
  }

  #lineEnded(line: Line): void {
    this.lines.length = 0;
    const { owner } = this;
    const slots = owner.lines.slotsOn(line);
    owner.lines.forget(line);
    for (const slot of slots.reverse()) {
      owner.lines.leave(line, slot);
      if (owner.slots.states[slot] === SlotState.abandoned) owner.releaseSlot(slot);
      else if (owner.slots.attempts[slot]! < owner.slots.specs[slot]!.options.retries && this.state?.state !== 'dead') {
        owner.slots.attempts[slot]!++;
        owner.requeue(slot);
      } else owner.failTaken(slot, this.#interruptedError(owner.slots.specs[slot]!));
    }
  }

  failAll(): void {
    for (const slot of this.ring.drain()) this.owner.failTaken(slot, this.deadError(`the call ${this.owner.slots.specs[slot]!.options.name}`));
  }

  deadError(what: string): MusterError {
    const cause = this.state?.cause ? describeDeath(deathFromMessage(this.state.cause)) : 'is not alive';
    return makeError('ACTOR_DIED', { what, actor: this.#label(), cause });
  }

  #interruptedError(spec: TaskSpec): MusterError {
    const what = `the call ${spec.options.name}`;
    if (this.state?.state === 'dead') return this.deadError(what);
    const cause = this.state?.cause ? describeDeath(deathFromMessage(this.state.cause)) : 'lost its connection';
    return makeError('ACTOR_UNAVAILABLE', { what, actor: this.#label(), cause });
  }

  #label(): string {
    const { className, name } = this.state ?? { className: '', name: '' };
    return [className, name && `'${name}'`, `(${this.id})`].filter(Boolean).join(' ');
  }
}

/** Of actors that are dead: what is still under way may speak of them. Their handles know them longer. */
const DEAD_CLIENTS_KEPT_MAX = 100;

export class ActorClients {
  readonly #clients = new Map<string, ActorClient>();
  /** Those of dead actors, the oldest first. */
  readonly #dead = new Set<string>();
  #ownCount = 0;

  constructor(readonly owner: Owner) {}

  /** Living actors that end with this process. */
  get ownCount(): number {
    return this.#ownCount;
  }

  /** This process has created the actor, which ends with it. */
  own(client: ActorClient): void {
    this.#ownCount++;
    this.owner.watchClock();
    client.watch((state) => {
      if (state.state !== 'dead') return false;
      this.#ownCount--;
      this.owner.watchClock();
      return true;
    });
  }

  /** Connections to actors. */
  get lineCount(): number {
    let count = 0;
    for (const client of this.#clients.values()) count += client.lines.length;
    return count;
  }

  /** The client of an actor; made when its handle first appears in this process. */
  client(id: ActorId): ActorClient {
    let client = this.#clients.get(id);
    if (!client) this.#clients.set(id, (client = new ActorClient(id, this.owner)));
    return client;
  }

  known(id: string): ActorClient | undefined {
    return this.#clients.get(id);
  }

  onState(state: ActorState): void {
    this.client(state.actorId as ActorId).onState(state);
    if (state.state === 'dead') this.#died(state.actorId);
  }

  /** Whoever meets the actor again asks the head anew. */
  #died(id: string): void {
    this.#dead.add(id);
    if (this.#dead.size <= DEAD_CLIENTS_KEPT_MAX) return;
    for (const oldest of this.#dead) {
      this.#dead.delete(oldest);
      this.#clients.delete(oldest);
      return;
    }
  }

  /** Nothing more will be heard of any actor. */
  disconnected(error: MusterError): void {
    for (const client of this.#clients.values()) client.disconnected(error);
  }

  callEnded(spec: TaskSpec): void {
    if (spec.fn === null) (spec.queue as ActorClient).pendingCount--;
  }

  lineTimedOut(line: Line): void {
    (line.queue as ActorClient).lineTimedOut(line);
  }
}
