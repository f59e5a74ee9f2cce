/**
 * The nodes: who is registered, who is silent, and what is free where, in the scheduler's cluster. Knows leases only as members of a set.
 *
 *   registered ──stream breaks──> unreachable ──the same daemon registers again──> registered
 *       └──────────silent for nodeTimeoutMs, or said goodbye──────────> dead (for good: a new daemon has a new id)
 */
import { addResources, makeError, RESOURCE_SCALE, subtractResources, type MusterError, type ResourceSet } from '@muster/base';
import type { Endpoint, Heartbeat, HeadToNode, RegisterNode } from '@muster/protocol';
import { Cluster, COLUMN, explain, type Explanation, type Holding, type NodeRow, type PlacementHints, type PlacementRequest } from '@muster/scheduler';
import type { Claim } from './claims.js';
import type { HeadContext } from './context.js';
import type { Share } from './group.js';
import { History } from './history.js';
import type { Lease } from './leases.js';
import { LABELS_MAX, NODES_DEAD_KEPT_MAX, NODES_MAX } from './limits.js';
import { LostNodes, type AwaitedNode } from './lost-nodes.js';
import type { Place, Pool } from './pool.js';
import { readResources, refusal } from './requests.js';
import { Shapes } from './shapes.js';

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
  /** What the scheduler sees of it. */
  readonly row: NodeRow;
  readonly leases: Set<Lease>;
  /** What placement groups have of it, by group and epoch. */
  readonly shares: Map<string, Share>;
  readonly workers: Map<string, WorkerRecord>;
  /** For whom room is kept. */
  claims: readonly Claim[];
  /** No claims for lack of turns before this. */
  openUntilMs: number;
  /** It takes no more leases. */
  isDraining: boolean;
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
export class Nodes implements Pool {
  readonly groupId = '';
  readonly byId = new Map<string, Node>();
  readonly dead = new History<DeadNode>(NODES_DEAD_KEPT_MAX);
  readonly lost: LostNodes;
  /** What the scheduler sees of all of them. Changed only here. */
  readonly cluster = new Cluster();
  readonly shapes = new Shapes(this.cluster);
  readonly leases = new Set<Lease>();
  /** Of all nodes together. */
  totals: ResourceSet = {};
  /** Grows whenever an earlier refusal may no longer hold or may have become final: it is worth another try. */
  revision = 0;
  readonly #context: HeadContext;
  readonly #byStream = new Map<number, Node>();
  #headNode: Node | null = null;
  /** When a node could be silent for too long, if none was heard again since the last look. */
  #silentFromMs = 0;

  constructor(context: HeadContext) {
    this.#context = context;
    this.lost = new LostNodes(context);
  }

  ofStream(stream: number): Node | undefined {
    return this.#byStream.get(stream);
  }

  /** The node that the head's own machine is. */
  get headNode(): Node | null {
    return this.#headNode;
  }

  /** What no lease and no bundle holds. */
  availableOf(node: Node): ResourceSet {
    return this.cluster.view(node.row).available;
  }

  /** Whether more runs on the node than it has cpus: workers that waited have gone on. Nothing else is lent. */
  isOverused({ row: { row } }: Node): boolean {
    return this.cluster.available[row * this.cluster.width + COLUMN.cpu]! < 0;
  }

  /** @throws MusterError PROTOCOL for a second id on one stream and for amounts that are none. */
  register(stream: number, message: RegisterNode): Registration {
    const current = this.#byStream.get(stream);
    if (current !== undefined) {
      if (current.id !== message.nodeId) throw refusal(`${current.id} registered again as '${message.nodeId}'`);
      return { type: 'repeated', node: current };
    }
    const total = readResources(message.resources);
    if ((total['gpu'] ?? 0) % RESOURCE_SCALE !== 0) throw refusal('a node with a part of a GPU');
    if (Object.keys(message.labels).length > LABELS_MAX) throw refusal(`a node with more than ${LABELS_MAX} labels`);
    const known = this.byId.get(message.nodeId);
    if (known?.instanceId === message.instanceId) return this.#takeBack(known, stream, message);
    const failure = this.#registrationFailure(message);
    if (failure !== null) return { type: 'refused', failure };
    this.cluster.add({ nodeId: message.nodeId, total, labels: message.labels });
    const node: Node = {
      id: message.nodeId, instanceId: message.instanceId, hostname: message.hostname, pid: message.pid, isHeadNode: message.isHeadNode, objectStoreBytes: message.objectStoreBytes,
      registeredAtMs: this.#context.nowMs, endpoint: message.endpoint, stream, lastHeardMs: this.#context.nowMs, heartbeat: null,
      row: this.cluster.rowOf(message.nodeId)!, leases: new Set(), shares: new Map(), workers: new Map(), claims: [], openUntilMs: 0, isDraining: false,
    };
    this.byId.set(node.id, node);
    this.#byStream.set(stream, node);
    this.totals = addResources(this.totals, total);
    if (node.isHeadNode) this.#headNode ??= node;
    this.revision++;
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
    if (this.#headNode === node) this.#headNode = null;
    this.dead.add(node.id, { id: node.id, hostname: node.hostname, detail, diedAtMs: this.#context.nowMs });
    this.lost.add(node.row, `was lost (${detail})`);
    this.totals = subtractResources(this.totals, node.row.total);
    this.cluster.remove(node.id);
    this.revision++;
  }

  /** Those that have been silent for too long, which the caller removes. Looks at them no sooner than one of them can be. */
  silent(): Node[] {
    const { nowMs, settings: { nodeTimeoutMs } } = this.#context;
    const silent: Node[] = [];
    if (nowMs < this.#silentFromMs) return silent;
    let heardMs = nowMs;
    for (const node of this.byId.values()) {
      if (nowMs - node.lastHeardMs >= nodeTimeoutMs) silent.push(node);
      else heardMs = Math.min(heardMs, node.lastHeardMs);
    }
    this.#silentFromMs = heardMs + nodeTimeoutMs;
    return silent;
  }

  /** Nobody could be heard for that long. */
  excuse(awayMs: number): void {
    for (const node of this.byId.values()) node.lastHeardMs += awayMs;
  }

  /** Sends if the node is connected. What must survive a break is sent again when the node returns. */
  send(node: Node, message: HeadToNode): void {
    if (node.stream !== null) this.#context.sendToNode(node.stream, message);
  }

  broadcast(message: HeadToNode): void {
    for (const node of this.byId.values()) this.send(node, message);
  }

  hold(row: string, resources: ResourceSet): Place {
    const holding = this.cluster.hold(row, resources);
    return { row, holding, node: this.byId.get(row)!, gpuIds: holding.gpuIds, bundle: null };
  }

  release({ row, gpuIds }: Place, resources: ResourceSet): void {
    this.revision++;
    if (this.cluster.has(row)) this.cluster.release(row, { resources, gpuIds });
  }

  lend({ row }: Place, resources: ResourceSet, sign: 1 | -1): void {
    if (sign === 1) this.revision++;
    this.cluster.lend(row, resources, sign);
  }

  hintsFor(hints: PlacementHints): PlacementHints {
    return hints;
  }

  explain(request: PlacementRequest): Explanation {
    return explain(this.cluster, request);
  }

  awaitedBy(request: PlacementRequest): AwaitedNode | null {
    return this.lost.awaitedBy(request);
  }

  /** A bundle's part of the node, where a plan has put it. */
  holdBundle(node: Node, holding: Holding): void {
    this.cluster.holdAt(node.id, holding);
  }

  releaseBundle(node: Node, holding: Holding): void {
    this.revision++;
    this.cluster.release(node.id, holding);
  }

  /** The node takes no more leases, or does again. */
  drain(node: Node, isDraining: boolean): void {
    if (node.isDraining === isDraining) return;
    node.isDraining = isDraining;
    if (isDraining) this.lost.add(node.row, 'is draining');
    this.revision++;
    this.#setCondition(node);
  }

  /** Keeps the node's free room for those who have claimed it; without claims it is open to all. */
  setClaims(node: Node, claims: readonly Claim[]): void {
    if (claims.length < node.claims.length) this.revision++;
    node.claims = claims;
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
    const whenItTakes = node.claims.length > 0 ? 'reserved' : 'ready';
    this.cluster.setCondition(node.id, node.isDraining ? 'draining' : node.stream === null ? 'unreachable' : whenItTakes);
  }
}
