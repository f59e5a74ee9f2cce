/**
 * The nodes: who is registered, who is silent, and what is free where. Knows leases only as members of a set.
 *
 *   registered ──stream breaks──> unreachable ──the same daemon registers again──> registered
 *       └──────────silent for nodeTimeoutMs, or said goodbye──────────> dead (for good: a new daemon has a new id)
 */
import { addResources, makeError, RESOURCE_SCALE, subtractResources, type MusterError, type ResourceSet } from '@muster/base';
import type { Endpoint, Heartbeat, HeadToNode, RegisterNode } from '@muster/protocol';
import type { ClusterSnapshot, NodeCondition, NodeView } from '@muster/scheduler';
import type { HeadContext } from './context.js';
import type { Demand } from './demands.js';
import { History } from './history.js';
import type { Lease } from './leases.js';
import { LABELS_MAX, NODES_DEAD_KEPT_MAX, NODES_MAX } from './limits.js';
import { LostNodes } from './lost-nodes.js';
import { readResources, refusal } from './requests.js';

/** A worker process that its daemon has reported. */
export interface WorkerRecord {
  readonly workerId: string;
  readonly pid: number;
  readonly startedAtMs: number;
  /** Empty until it is leased; then for life. */
  jobId: string;
}

/** A node that is not dead. */
export interface Node {
  readonly id: string;
  /** Of its daemon's run: only that process may return as this node. */
  readonly instanceId: string;
  readonly hostname: string;
  readonly pid: number;
  readonly isHeadNode: boolean;
  readonly objectStoreBytes: number;
  readonly registeredAtMs: number;
  endpoint: Endpoint | null;
  /** Null while it is cut off. */
  stream: number | null;
  lastHeardMs: number;
  heartbeat: Heartbeat | null;
  /** What the scheduler sees; replaced at every change. */
  view: NodeView;
  /** Its place in the snapshot; -1 when it is dead. */
  index: number;
  readonly leases: Set<Lease>;
  readonly workers: Map<string, WorkerRecord>;
  /** The demand that freed room is kept for. */
  reservation: { readonly demand: Demand; readonly untilMs: number } | null;
  /** It takes no new leases; those it has go on. */
  isDraining: boolean;
  /** No reservation before this. */
  openUntilMs: number;
}

/** What is remembered of a node. */
export interface DeadNode {
  readonly id: string;
  readonly hostname: string;
  readonly detail: string;
  readonly diedAtMs: number;
}

/** What became of a registration. */
export type Registration =
  | { readonly type: 'new' | 'returned' | 'repeated'; readonly node: Node }
  | { readonly type: 'refused'; readonly failure: MusterError };

/** All nodes that are not dead, and those that died lately. */
export class Nodes {
  readonly byId = new Map<string, Node>();
  readonly dead = new History<DeadNode>(NODES_DEAD_KEPT_MAX);
  readonly lost: LostNodes;
  /** Grows whenever an earlier refusal may no longer hold or may have become final: it is worth another try. */
  revision = 0;
  /** Grows whenever a node joins or dies. */
  epoch = 0;
  readonly #context: HeadContext;
  readonly #byStream = new Map<number, Node>();
  #order: Node[] = [];
  #snapshot: ClusterSnapshot = { nodes: [] };

  constructor(context: HeadContext) {
    this.#context = context;
    this.lost = new LostNodes(context);
  }

  /** The nodes as they are now. Stays as it is when they change. */
  get snapshot(): ClusterSnapshot {
    return this.#snapshot;
  }

  ofStream(stream: number): Node | undefined {
    return this.#byStream.get(stream);
  }

  /** The node that the head's own machine is. */
  get headNode(): Node | null {
    for (const node of this.#order) if (node.isHeadNode) return node;
    return null;
  }

  /** Of all nodes together. */
  get totalCpus(): number {
    return this.#order.reduce((sum, node) => sum + (node.view.total['cpu'] ?? 0), 0) / RESOURCE_SCALE;
  }

  /** @throws MusterError PROTOCOL for a second id on one stream and for amounts that are none. */
  register(stream: number, message: RegisterNode): Registration {
    const current = this.#byStream.get(stream);
    if (current !== undefined) {
      if (current.id !== message.nodeId) throw refusal(`${current.id} registered again as '${message.nodeId}'`);
      return { type: 'repeated', node: current };
    }
    const total = readResources(message.resources);
    if (Object.keys(message.labels).length > LABELS_MAX) throw refusal(`a node with more than ${LABELS_MAX} labels`);
    const known = this.byId.get(message.nodeId);
    if (known?.instanceId === message.instanceId) return this.#takeBack(known, stream, message);
    const failure = this.#registrationFailure(message);
    if (failure !== null) return { type: 'refused', failure };
    const node: Node = {
      id: message.nodeId, instanceId: message.instanceId, hostname: message.hostname, pid: message.pid, isHeadNode: message.isHeadNode, objectStoreBytes: message.objectStoreBytes,
      registeredAtMs: this.#context.nowMs, endpoint: message.endpoint, stream, lastHeardMs: this.#context.nowMs, heartbeat: null,
      view: { nodeId: message.nodeId, condition: 'ready', total, available: total, labels: message.labels, leaseCount: 0 },
      index: this.#order.length, leases: new Set(), workers: new Map(), reservation: null, isDraining: false, openUntilMs: 0,
    };
    this.byId.set(node.id, node);
    this.#byStream.set(stream, node);
    this.#order.push(node);
    this.#reorder();
    return { type: 'new', node };
  }

  /** The stream broke; the node has until its timeout to come back. */
  disconnect(node: Node): void {
    if (node.stream !== null) this.#byStream.delete(node.stream);
    node.stream = null;
    this.#setCondition(node);
  }

  /** Takes a dead node out of the tables. The caller has dealt with what ran there. */
  remove(node: Node, detail: string): void {
    if (node.stream !== null) {
      this.#byStream.delete(node.stream);
      this.#context.closeNode(node.stream, makeError('NODE_DIED', { what: `the connection of ${node.id}`, cause: `the node was declared dead (${detail})` }));
      node.stream = null;
    }
    this.byId.delete(node.id);
    this.dead.add(node.id, { id: node.id, hostname: node.hostname, detail, diedAtMs: this.#context.nowMs });
    this.lost.add(node.view, detail);
    this.#order.splice(node.index, 1);
    node.index = -1;
    this.#reorder();
  }

  /** Those that have been silent for too long. */
  silent(): Node[] {
    const { nowMs, settings } = this.#context;
    return this.#order.filter((node) => nowMs - node.lastHeardMs >= settings.nodeTimeoutMs);
  }

  /** Nobody could be heard for that long. */
  excuse(awayMs: number): void {
    for (const node of this.#order) node.lastHeardMs += awayMs;
  }

  /** Sends if the node is connected. What must survive a break is sent again when the node returns. */
  send(node: Node, message: HeadToNode): void {
    if (node.stream !== null) this.#context.sendToNode(node.stream, message);
  }

  broadcast(message: HeadToNode): void {
    for (const node of this.#order) this.send(node, message);
  }

  /** Tells every node which nodes there are. */
  broadcastPeers(): void {
    this.broadcast({ type: 'peerNodes', nodes: this.#order.map((node) => ({ nodeId: node.id, endpoint: node.endpoint })) });
  }

  /** A lease more on the node. The scheduler has seen that it fits. */
  addLease(node: Node, lease: Lease, resources: ResourceSet): void {
    node.leases.add(lease);
    this.#setView(node, { ...node.view, available: subtractResources(node.view.available, resources), leaseCount: node.leases.size });
  }

  removeLease(node: Node, lease: Lease, resources: ResourceSet): void {
    node.leases.delete(lease);
    this.revision++;
    this.#setView(node, { ...node.view, available: addResources(node.view.available, resources), leaseCount: node.leases.size });
  }

  /** A blocked worker's share, taken from the node's free amounts or given back to them. May leave less than nothing. */
  shift(node: Node, resources: ResourceSet, direction: 'take' | 'give'): void {
    if (direction === 'give') this.revision++;
    const available = (direction === 'give' ? addResources : subtractResources)(node.view.available, resources);
    this.#setView(node, { ...node.view, available });
  }

  /** Keeps the node's free room for one demand; null opens it to all. */
  reserve(node: Node, reservation: Node['reservation']): void {
    node.reservation = reservation;
    if (reservation === null) this.revision++;
    this.#setCondition(node);
  }

  /** Stops or begins again to give the node leases. A draining one no longer counts where it is asked what could ever be placed. */
  drain(node: Node, isDraining: boolean): void {
    if (node.isDraining === isDraining) return;
    node.isDraining = isDraining;
    this.revision++;
    this.epoch++;
    this.#setCondition(node);
  }

  #takeBack(node: Node, stream: number, message: RegisterNode): Registration {
    if (node.stream !== null) { // the old connection is broken, and only this side has not noticed
      this.#byStream.delete(node.stream);
      this.#context.closeNode(node.stream, null);
    }
    this.#byStream.set(stream, node);
    node.stream = stream;
    node.endpoint = message.endpoint;
    node.lastHeardMs = this.#context.nowMs;
    this.revision++;
    this.#setCondition(node);
    return { type: 'returned', node };
  }

  #registrationFailure(message: RegisterNode): MusterError | null {
    const { nodeId } = message;
    if (!/^node-\S+$/.test(nodeId)) return makeError('INVALID_ARGUMENT', { what: `the node id '${nodeId}'`, want: 'node- and a unique name' });
    const known = this.byId.get(nodeId);
    if (known !== undefined) {
      const what = `the node id ${nodeId}`;
      return makeError('INVALID_ARGUMENT', { what, want: `new: the cluster has a node with it, process ${known.pid} on ${known.hostname}` });
    }
    const dead = this.dead.get(nodeId);
    if (dead !== undefined) {
      const cause = `${nodeId} was declared dead (${dead.detail}); its daemon must start anew under another id`;
      return makeError('NODE_DIED', { what: 'the registration', cause });
    }
    if (this.byId.size >= NODES_MAX) return makeError('UNSCHEDULABLE', { what: nodeId, reasons: `the cluster has ${NODES_MAX} nodes, the most it may` });
    return null;
  }

  #setCondition(node: Node): void {
    const condition: NodeCondition = node.isDraining ? 'draining' : node.stream === null ? 'unreachable' : node.reservation !== null ? 'reserved' : 'ready';
    if (condition !== node.view.condition) this.#setView(node, { ...node.view, condition });
  }

  #setView(node: Node, view: NodeView): void {
    node.view = view;
    if (node.index >= 0) this.#snapshot = { nodes: this.#snapshot.nodes.with(node.index, view) };
  }

  #reorder(): void {
    this.revision++;
    this.epoch++;
    this.#order.forEach((node, index) => { node.index = index; });
    this.#snapshot = { nodes: this.#order.map((node) => node.view) };
  }
}
