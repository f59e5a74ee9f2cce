/** The client's side of placement groups: what the head says of those that this process has made or was given. */
import type { GroupId, MusterError } from '@muster/base';
import type { CreateGroup, GroupState } from '@muster/protocol';
import type { Owner } from './owner.js';

/** One group, as far as this process has heard. */
export class GroupClient {
  /** The error that ends every wait for this group, once the connection to the cluster is gone. */
  lostWith: MusterError | null = null;
  readonly #watchers = new Set<(state: GroupState) => void>();

  constructor(readonly id: GroupId, public state: GroupState) {}

  /** Calls back at each change of state, and when the connection is lost, until it returns true; at once with the present one. */
  watch(callback: (state: GroupState) => boolean): void {
    if (callback(this.state)) return;
    const watcher = (state: GroupState): void => {
      if (callback(state)) this.#watchers.delete(watcher);
    };
    this.#watchers.add(watcher);
  }

  onState(state: GroupState): void {
    if (this.state.state === 'removed') return;
    this.state = state.state === 'removed' ? { ...state, nodeIds: this.state.nodeIds } : state;
    for (const watcher of [...this.#watchers]) watcher(state);
  }

  disconnected(error: MusterError): void {
    this.lostWith = error;
    for (const watcher of [...this.#watchers]) watcher(this.state);
  }
}

/** All groups that are not known to be removed. */
export class GroupClients {
  readonly #clients = new Map<string, GroupClient>();
  readonly #own = new Set<GroupClient>();

  constructor(readonly owner: Owner) {}

  /** Groups that end with this process. */
  get ownCount(): number {
    return this.#own.size;
  }

  /** Asks for a new group, under an id that is new. */
  create(id: GroupId, request: Omit<CreateGroup, 'groupId'>): GroupClient {
    const client = this.#add(id, { ...UNKNOWN, groupId: id });
    this.#own.add(client);
    this.owner.watchClock();
    this.owner.ports.toHead({ type: 'createGroup', groupId: id, ...request });
    return client;
  }

  /** The group of a handle that has arrived, and which was created when it was sent, with its bundles on these nodes. */
  client(id: GroupId, nodeIds: readonly string[]): GroupClient {
    const known = this.#clients.get(id);
    if (known) return known;
    this.owner.ports.toHead({ type: 'watchGroup', groupId: id });
    return this.#add(id, { ...UNKNOWN, groupId: id, state: 'created', nodeIds });
  }

  remove(client: GroupClient): void {
    if (client.state.state !== 'removed') this.owner.ports.toHead({ type: 'removeGroup', groupId: client.id });
  }

  onState(state: GroupState): void {
    const client = this.#clients.get(state.groupId);
    if (!client) return;
    if (state.state === 'removed') {
      this.#clients.delete(state.groupId);
      this.#own.delete(client);
      this.owner.watchClock();
    }
    client.onState(state);
  }

  /** Nothing more will be heard of any group. */
  disconnected(error: MusterError): void {
    for (const client of this.#clients.values()) client.disconnected(error);
  }

  #add(id: GroupId, state: GroupState): GroupClient {
    const client = new GroupClient(id, state);
    this.#clients.set(id, client);
    return client;
  }
}

const UNKNOWN: Omit<GroupState, 'groupId'> = { state: 'pending', epoch: 0, nodeIds: [], reasons: '', failure: null };
