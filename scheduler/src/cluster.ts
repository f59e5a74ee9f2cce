/**
 * The cluster as the scheduler sees it: which nodes there are, what they have, and what of it is free. The head keeps it up to date; nothing here
 * knows of leases, owners or time.
 *
 * Nodes lie in rows of flat arrays, because a decision looks at many of them. Whoever has looked at all rows once needs to
 * look only at those that have changed since: {@link Cluster.changes} names them.
 */
import { RESOURCE_SCALE, type ResourceSet } from '@muster/base';
import { GpuDevices } from './gpu-devices.js';

/**
 * Whether a node takes new leases. Only `ready` does. A `reserved` one is kept free for another request and an `unreachable`
 * one may come back: both count when it is asked whether a request could ever be placed. A `draining` one will never take more.
 */
export type NodeCondition = 'ready' | 'reserved' | 'unreachable' | 'draining';

/** A node as it joins. */
export interface NodeSpec {
  readonly nodeId: string;
  readonly total: ResourceSet;
  readonly labels: Readonly<Record<string, string>>;
}

/** A node at one moment, for people and for explanations. */
export interface NodeView extends NodeSpec {
  readonly condition: NodeCondition;
  /** What no lease holds. Negative where workers that were blocked have gone on, and where a node has shrunk. */
  readonly available: ResourceSet;
  readonly leaseCount: number;
}

/** A node with all that a plan depends on. */
export interface NodeSnapshot extends NodeView {
  /** The free units of each GPU. */
  readonly freeOfGpus: readonly number[];
}

/** What is held of a node: amounts, and which GPUs they lie on. */
export interface Holding {
  readonly resources: ResourceSet;
  readonly gpuIds: readonly number[];
}

/** Each process on a node costs memory that no resource accounts for: more leases than this end in an unusable machine. */
export const LEASES_PER_NODE_MAX = 2_000;

/** Columns of every cluster; those of custom resources follow. */
export const COLUMN = {
  cpu: 0, gpu: 1, memory: 2,
  /** Of GPUs that nobody uses, in units. A request for whole GPUs needs these. */
  gpuWhole: 3,
  /** The largest free part of one GPU. A request for a part of a GPU needs this. */
  gpuPart: 4,
  /** How many more leases the node may hold. */
  leases: 5,
} as const;
const BUILT_IN_COLUMNS = Object.keys(COLUMN).length;

/** Readers further behind than this look at all rows again. */
export const CHANGES_KEPT = 4096;
const ROWS_FIRST = 64;
const EXTRA_CUSTOM = 1;
const EXTRA_GPUS = 2;

/** A node's row. */
export interface NodeRow {
  readonly row: number;
  readonly nodeId: string;
  readonly labels: Readonly<Record<string, string>>;
  total: ResourceSet;
  condition: NodeCondition;
  leaseCount: number;
  readonly gpus: GpuDevices;
}

/** All nodes that are not dead. */
export class Cluster {
  /** How many rows there are, free ones included. */
  rowCount = 0;
  /** Amounts by row and column, `width` to a row; see {@link columnOf}. */
  total = new Float64Array(0);
  available = new Float64Array(0);
  width = 8;
  /** By row: 1 when the node takes leases. */
  isReady = new Uint8Array(0);
  /** By row: what the node has that most requests have no use for: 1 for custom resources, and 2 for GPUs. */
  extras = new Uint8Array(0);
  /** The rows of the last changes; that of version v stands at v modulo the length. */
  readonly changes: Int32Array;
  /** By row: the version of its last change. Who follows the changes needs to look at a row only there. */
  changedAt = new Float64Array(0);
  /** The same of epochs: the rows whose node has come, gone, or could hold other things than before. */
  readonly natureChanges: Int32Array;
  /** Grows with every change of any node. */
  version = 0;
  /** Grows when nodes join, leave, or change what they could ever hold. */
  epoch = 0;
  readonly #columns = new Map<string, number>([['cpu', COLUMN.cpu], ['gpu', COLUMN.gpu], ['memory', COLUMN.memory]]);
  readonly #rows: (NodeRow | null)[] = [];
  readonly #byId = new Map<string, NodeRow>();
  readonly #freeRows: number[] = [];

  /** @param changesKept how many of the last changes are named, CHANGES_KEPT at most; few for a small cluster, of which there are many */
  constructor(changesKept = CHANGES_KEPT) {
    this.changes = new Int32Array(changesKept);
    this.natureChanges = new Int32Array(changesKept);
  }

  get size(): number {
    return this.#byId.size;
  }

  /** In the order in which they joined. */
  *nodes(): Generator<NodeView> {
    for (const node of this.#byId.values()) yield this.view(node);
  }

  rows(): Iterable<NodeRow> {
    return this.#byId.values();
  }

  has(nodeId: string): boolean {
    return this.#byId.has(nodeId);
  }

  rowOf(nodeId: string): NodeRow | undefined {
    return this.#byId.get(nodeId);
  }

  /** Null for a row without a node. */
  at(row: number): NodeRow | null {
    return this.#rows[row] ?? null;
  }

  view(node: NodeRow): NodeView {
    const available: Record<string, number> = {};
    for (const name in node.total) available[name] = this.available[node.row * this.width + this.#column(name)]!;
    return { nodeId: node.nodeId, labels: node.labels, total: node.total, condition: node.condition, leaseCount: node.leaseCount, available };
  }

  /** How many resources have a column. */
  get resourceCount(): number {
    return this.#columns.size;
  }

  /** The column of a resource; undefined when no node ever had any of it. */
  columnOf(name: string): number | undefined {
    return this.#columns.get(name);
  }

  #column(name: string): number {
    const known = this.#columns.get(name);
    if (known !== undefined) return known;
    const column = this.#columns.size - 3 + BUILT_IN_COLUMNS;
    this.#columns.set(name, column);
    if (column >= this.width) this.#widen(this.width * 2);
    return column;
  }

  /** The id must be new. */
  add({ nodeId, total, labels }: NodeSpec): void {
    const row = this.#freeRows.pop() ?? this.rowCount++;
    const node: NodeRow = { row, nodeId, labels, total: {}, condition: 'ready', leaseCount: 0, gpus: new GpuDevices(total['gpu'] ?? 0) };
    this.#rows[row] = node;
    this.#byId.set(nodeId, node);
    for (const name in total) this.#column(name);
    if (this.rowCount * this.width > this.total.length) this.#grow();
    this.total.fill(0, row * this.width, (row + 1) * this.width);
    this.available.fill(0, row * this.width, (row + 1) * this.width);
    this.available[row * this.width + COLUMN.leases] = LEASES_PER_NODE_MAX;
    this.isReady[row] = 1;
    this.#setTotal(node, total);
  }

  remove(nodeId: string): void {
    const node = this.#byId.get(nodeId)!;
    this.#byId.delete(nodeId);
    this.#rows[node.row] = null;
    this.isReady[node.row] = 0;
    this.#freeRows.push(node.row);
    this.#natureChanged(node.row);
    this.#changed(node.row);
  }

  /** The node has more or less than before. What is held stays held, even if less is there. */
  resize(nodeId: string, total: ResourceSet): void {
    this.#setTotal(this.#byId.get(nodeId)!, total);
  }

  setCondition(nodeId: string, condition: NodeCondition): void {
    const node = this.#byId.get(nodeId)!;
    if (node.condition === condition) return;
    if (condition === 'draining' || node.condition === 'draining') this.#natureChanged(node.row);
    node.condition = condition;
    this.isReady[node.row] = Number(condition === 'ready');
    this.#changed(node.row);
  }

  /** Takes a lease's share of the node, which has it: {@link Shape.fits} said so. */
  hold(nodeId: string, resources: ResourceSet): Holding {
    const node = this.#byId.get(nodeId)!;
    const gpu = resources['gpu'];
    const gpuIds = gpu === undefined ? NO_GPUS : node.gpus.take(gpu);
    this.#shift(node, resources, -1);
    this.#countLease(node, 1);
    return { resources, gpuIds };
  }

  /** Takes exactly this, GPUs included: it is held elsewhere already, and this cluster is told of it. */
  holdAt(nodeId: string, { resources, gpuIds }: Holding): void {
    const node = this.#byId.get(nodeId)!;
    if (gpuIds.length > 0) node.gpus.claim(gpuIds, resources['gpu'] ?? 0);
    this.#shift(node, resources, -1);
    this.#countLease(node, 1);
  }

  /** Gives back what {@link hold} gave. */
  release(nodeId: string, { resources, gpuIds }: Holding): void {
    const node = this.#byId.get(nodeId)!;
    if (gpuIds.length > 0) node.gpus.giveBack(gpuIds, resources['gpu'] ?? 0);
    this.#shift(node, resources, 1);
    this.#countLease(node, -1);
  }

  /** A part of a holding that is lent out (`1`) or taken back (`-1`), which may leave less than nothing. Not for GPUs. */
  lend(nodeId: string, resources: ResourceSet, sign: 1 | -1): void {
    this.#shift(this.#byId.get(nodeId)!, resources, sign);
  }

  /** A cluster of its own that begins as this one is. */
  fork(): Cluster {
    return Cluster.restore(this.snapshot());
  }

  /** All nodes as they are, in a form that can travel. */
  *snapshot(): Generator<NodeSnapshot> {
    for (const node of this.#byId.values()) yield { ...this.view(node), freeOfGpus: node.gpus.freeOfEach() };
  }

  static restore(nodes: Iterable<NodeSnapshot>): Cluster {
    const copy = new Cluster();
    for (const { available, condition, leaseCount, freeOfGpus, ...spec } of nodes) {
      copy.add(spec);
      const node = copy.#byId.get(spec.nodeId)!;
      copy.setCondition(spec.nodeId, condition);
      for (const name in available) copy.available[node.row * copy.width + copy.#column(name)] = available[name]!;
      node.gpus.restore(freeOfGpus);
      copy.#deriveGpus(node);
      copy.#countLease(node, leaseCount);
    }
    return copy;
  }

  /** As {@link fork}, with nothing held and every node but draining ones ready. */
  emptied(): Cluster {
    const copy = new Cluster();
    for (const node of this.#byId.values()) if (node.condition !== 'draining') copy.add(node);
    return copy;
  }

  #setTotal(node: NodeRow, total: ResourceSet): void {
    const names = new Set([...Object.keys(node.total), ...Object.keys(total)]);
    for (const name of names) this.#column(name); // may move all rows
    const at = node.row * this.width;
    for (const name of names) {
      this.total[at + this.#column(name)] = total[name] ?? 0;
      this.available[at + this.#column(name)]! += (total[name] ?? 0) - (node.total[name] ?? 0);
    }
    node.total = total;
    const gpus = total['gpu'] ?? 0;
    node.gpus.resize(gpus);
    this.total[at + COLUMN.gpuWhole] = Math.floor(gpus / RESOURCE_SCALE) * RESOURCE_SCALE;
    this.total[at + COLUMN.gpuPart] = Math.min(gpus, RESOURCE_SCALE);
    this.total[at + COLUMN.leases] = LEASES_PER_NODE_MAX;
    this.extras[node.row] = Number(Object.keys(total).some(isCustom)) * EXTRA_CUSTOM + Number(node.gpus.count > 0) * EXTRA_GPUS;
    this.#deriveGpus(node);
    this.#natureChanged(node.row);
    this.#changed(node.row);
  }

  #shift(node: NodeRow, resources: ResourceSet, sign: 1 | -1): void {
    const at = node.row * this.width;
    for (const name in resources) {
      const column = this.#columns.get(name) ?? this.#column(name);
      this.available[at + column]! += sign * resources[name]!;
      if (column === COLUMN.gpu) this.#deriveGpus(node);
    }
    this.#changed(node.row);
  }

  #countLease(node: NodeRow, change: number): void {
    node.leaseCount += change;
    this.available[node.row * this.width + COLUMN.leases]! -= change;
  }

  #deriveGpus(node: NodeRow): void {
    this.available[node.row * this.width + COLUMN.gpu] = node.gpus.freeUnits;
    this.available[node.row * this.width + COLUMN.gpuWhole] = node.gpus.wholeCount * RESOURCE_SCALE;
    this.available[node.row * this.width + COLUMN.gpuPart] = node.gpus.largestPart;
  }

  #changed(row: number): void {
    this.changedAt[row] = this.version;
    this.changes[this.version++ % this.changes.length] = row;
  }

  #natureChanged(row: number): void {
    this.natureChanges[this.epoch++ % this.natureChanges.length] = row;
  }

  #grow(): void {
    const rows = Math.max(ROWS_FIRST, this.rowCount * 2);
    this.total = copyInto(new Float64Array(rows * this.width), this.total);
    this.available = copyInto(new Float64Array(rows * this.width), this.available);
    this.changedAt = copyInto(new Float64Array(rows), this.changedAt);
    this.isReady = copyInto(new Uint8Array(rows), this.isReady);
    this.extras = copyInto(new Uint8Array(rows), this.extras);
  }

  #widen(width: number): void {
    for (const name of ['total', 'available'] as const) {
      const wide = new Float64Array((this[name].length / this.width) * width);
      for (let row = 0; row < this[name].length / this.width; row++) wide.set(this[name].subarray(row * this.width, (row + 1) * this.width), row * width);
      this[name] = wide;
    }
    this.width = width;
  }
}

const NO_GPUS: readonly number[] = [];

/** Whether a resource is none of those that every node may have. */
export const isCustom = (name: string): boolean => name !== 'cpu' && name !== 'memory' && name !== 'gpu';

function copyInto<Values extends Float64Array | Uint8Array>(target: Values, source: Values): Values {
  target.set(source);
  return target;
}
