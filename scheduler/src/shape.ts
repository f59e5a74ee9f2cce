/**
 * A request prepared against a cluster: which nodes fit it, and which of them is best. It keeps a score for every row of the cluster and the lowest one of every
 * block of rows, and is brought up to date from the cluster's changes: a decision costs a few operations for each change since the last one, and a look at the blocks.
 *
 * A node's score, the lowest of which wins; equal ones go by row:
 *   - unmet preferences of labels, by their weight;
 *   - what the node has that the request has no use for (GPUs, custom resources): others need it more;
 *   - for GPUs, the share of GPUs that would be left, so that nodes fill up one after the other and whole nodes stay free for gangs;
 *   - else the used share of whichever requested resource the node has used most of, so that load is even.
 */
import { RESOURCE_SCALE } from '@muster/base';
import { COLUMN, type Cluster, type NodeRow } from './cluster.js';
import { satisfies } from './labels.js';
import type { PlacementRequest } from './request.js';

/** Shares of what is used or left count up to 1 in a score, and these in front of them. */
const SCORE_FOREIGN_GPUS = 2;
const SCORE_FOREIGN_CUSTOM = 1;
const SCORE_PER_WEIGHT = 4;

const BLOCK_ROWS = 64;

/** One request, and the nodes that fit it now. */
export class Shape {
  readonly cluster: Cluster;
  readonly request: PlacementRequest;
  /** Units of GPU that the request needs: of whole ones, or a part of one. */
  readonly gpu: number;
  /** Whether it prefers labels. */
  readonly hasPreferences: boolean;
  /** The columns that the request needs something of, and how much. */
  #columns = new Int32Array(0);
  #needs = new Float64Array(0);
  /** Set: it needs something that no node has had, of all those resources that there are. */
  #unknownOf: number | null = null;
  /** By row; Infinity where the request does not fit now. In 32 bits, because many shapes of many rows should stay in the processor's cache. */
  #scores = new Float32Array(0);
  /** The lowest score of each block, and whether it must be looked for again. */
  #lowest = new Float32Array(0);
  #isStale = new Uint8Array(0);
  /** By row: the part of the score that follows from the node's nature; Infinity if it could never take the request. */
  #bases = new Float32Array(0);
  #suitCount = 0;
  #version = -1;
  #epoch = 0;

  constructor(cluster: Cluster, request: PlacementRequest) {
    this.cluster = cluster;
    this.request = request;
    this.hasPreferences = request.labels.some((term) => term.weight > 0);
    this.gpu = request.resources['gpu'] ?? 0;
    this.#findColumns();
  }

  /** The best node, or null when none fits. */
  best(): NodeRow | null {
    this.#refresh();
    const lowest = this.#lowest;
    let best = -1;
    let score = Infinity;
    for (let block = 0; block < lowest.length; block++) {
      if (this.#isStale[block] === 1) this.#lookThrough(block);
      if (lowest[block]! < score) score = lowest[best = block]!;
    }
    return best === -1 ? null : this.cluster.at(this.#scores.indexOf(score, best * BLOCK_ROWS));
  }

  /** The node's score; Infinity where the request does not fit now. */
  score(node: NodeRow): number {
    this.#refresh();
    return this.#scores[node.row]!;
  }

  /** Whether the node can take the request now. */
  fits(node: NodeRow): boolean {
    return this.score(node) !== Infinity;
  }

  /** Whether what is free of the node is enough, whatever its condition: of a reserved one, that is for whom it is kept to ask. */
  hasRoom(node: NodeRow): boolean {
    this.#refresh();
    const { available, width } = this.cluster;
    return this.#bases[node.row] !== Infinity && this.#columns.every((column, i) => available[node.row * width + column]! >= this.#needs[i]!);
  }

  /** Whether the node could take the request if nothing else ran on it. */
  suits(node: NodeRow): boolean {
    this.#refresh();
    return this.#bases[node.row] !== Infinity;
  }

  /** The weight of the preferences of labels that the node does not meet. */
  unmet(node: NodeRow): number {
    let unmet = 0;
    for (const term of this.request.labels) if (term.weight > 0 && !satisfies(node, term)) unmet += term.weight;
    return unmet;
  }

  /** Whether any node could ever take the request. */
  get isFeasible(): boolean {
    this.#refresh();
    return this.#suitCount > 0;
  }

  /** Each column that the request needs something of. */
  eachNeed(visit: (column: number, amount: number) => void): void {
    for (let i = 0; i < this.#columns.length; i++) visit(this.#columns[i]!, this.#needs[i]!);
  }

  /** How many of the request the node could take now, one after the other, but no more than `max`. */
  capacity(node: NodeRow, max: number): number {
    if (!this.fits(node)) return 0;
    const at = node.row * this.cluster.width;
    const { available } = this.cluster;
    let count = this.gpu > 0 ? Math.min(max, node.gpus.capacity(this.gpu)) : max;
    for (let i = 0; i < this.#columns.length; i++) {
      const column = this.#columns[i]!;
      if (column !== COLUMN.gpuPart && column !== COLUMN.gpuWhole) count = Math.min(count, Math.floor(available[at + column]! / this.#needs[i]!));
    }
    return Math.max(0, count);
  }

  /** The same of a node on which nothing runs, whatever its condition is now. */
  capacityOfIdle(node: NodeRow, max: number): number {
    if (!this.suits(node)) return 0;
    const at = node.row * this.cluster.width;
    const { total } = this.cluster;
    let count = max;
    if (this.gpu > 0) count = Math.min(count, this.gpu < RESOURCE_SCALE ? node.gpus.count * Math.floor(RESOURCE_SCALE / this.gpu) : Math.floor(node.gpus.count / (this.gpu / RESOURCE_SCALE)));
    for (let i = 0; i < this.#columns.length; i++) {
      const column = this.#columns[i]!;
      if (column !== COLUMN.gpuPart && column !== COLUMN.gpuWhole) count = Math.min(count, Math.floor(total[at + column]! / this.#needs[i]!));
    }
    return count;
  }

  #findColumns(): void {
    const { cluster, request: { resources }, gpu } = this;
    const needs = new Map<number, number>();
    this.#unknownOf = null;
    for (const name in resources) {
      if (resources[name] === 0) continue;
      const column = cluster.columnOf(name);
      if (column === undefined) this.#unknownOf = cluster.resourceCount;
      else needs.set(column, resources[name]!);
    }
    if (needs.delete(COLUMN.gpu)) needs.set(gpu < RESOURCE_SCALE ? COLUMN.gpuPart : COLUMN.gpuWhole, gpu);
    needs.set(COLUMN.leases, 1);
    this.#columns = Int32Array.from(needs.keys());
    this.#needs = Float64Array.from(needs.values());
  }

  #refresh(): void {
    const { cluster } = this;
    if (this.#version === cluster.version) return;
    if (this.#unknownOf !== null && this.#unknownOf !== cluster.resourceCount) this.#findColumns(); // no node could hold it before: those that can now are new
    const isComplete = this.#version >= 0 && cluster.rowCount <= this.#scores.length && this.#follow();
    if (!isComplete) this.#rebuild();
    this.#version = cluster.version;
    this.#epoch = cluster.epoch;
  }

  /** Looks at what has changed; false when more has changed than is remembered. */
  #follow(): boolean {
    const { changes, version, natureChanges, epoch } = this.cluster;
    if (version - this.#version > changes.length || epoch - this.#epoch > natureChanges.length) return false;
    for (let e = this.#epoch; e < epoch; e++) this.#meet(natureChanges[e % natureChanges.length]!);
    const scores = this.#scores;
    const lowest = this.#lowest;
    for (let v = this.#version; v < version; v++) {
      const row = changes[v % changes.length]!;
      const before = scores[row]!;
      const score = Math.fround(this.#scoreAt(row));
      if (score === before) continue;
      scores[row] = score;
      const block = (row / BLOCK_ROWS) | 0;
      if (score < lowest[block]!) lowest[block] = score;
      else if (before === lowest[block]!) this.#isStale[block] = 1;
    }
    return true;
  }

  #rebuild(): void {
    const { rowCount } = this.cluster;
    const blocks = Math.ceil(Math.max(1, rowCount * 1.25) / BLOCK_ROWS);
    this.#scores = new Float32Array(blocks * BLOCK_ROWS).fill(Infinity);
    this.#bases = new Float32Array(blocks * BLOCK_ROWS).fill(Infinity);
    this.#lowest = new Float32Array(blocks);
    this.#isStale = new Uint8Array(blocks).fill(1);
    this.#suitCount = 0;
    for (let row = 0; row < rowCount; row++) {
      this.#meet(row);
      this.#scores[row] = this.#scoreAt(row);
    }
  }

  #lookThrough(block: number): void {
    let lowest = Infinity;
    for (let row = block * BLOCK_ROWS; row < (block + 1) * BLOCK_ROWS; row++) if (this.#scores[row]! < lowest) lowest = this.#scores[row]!;
    this.#lowest[block] = lowest;
    this.#isStale[block] = 0;
  }

  #scoreAt(row: number): number {
    const { isReady, available, total, width } = this.cluster;
    const base = this.#bases[row]!;
    if (base === Infinity || isReady[row] === 0) return Infinity;
    let load = 0;
    for (let i = 0; i < this.#columns.length; i++) {
      const at = row * width + this.#columns[i]!;
      const free = available[at]!;
      if (free < this.#needs[i]!) return Infinity;
      const used = 1 - free / total[at]!;
      if (used > load) load = used;
    }
    return base + (this.gpu > 0 ? this.#gpusLeft(row) : load);
  }

  /** The node is new, has gone, or could hold other things than before. */
  #meet(row: number): void {
    const node = this.cluster.at(row);
    const base = node !== null && this.#couldHold(node) ? this.unmet(node) * SCORE_PER_WEIGHT + this.#foreign(node) : Infinity;
    this.#suitCount += Number(base !== Infinity) - Number(this.#bases[row] !== Infinity);
    this.#bases[row] = base;
  }

  #couldHold(node: NodeRow): boolean {
    const { total, width } = this.cluster;
    if (this.#unknownOf !== null || node.condition === 'draining') return false;
    for (let i = 0; i < this.#columns.length; i++) if (total[node.row * width + this.#columns[i]!]! < this.#needs[i]!) return false;
    for (const term of this.request.labels) if (term.weight === 0 && !satisfies(node, term)) return false;
    return offersItself(node, this.request);
  }

  #foreign(node: NodeRow): number {
    if (this.gpu === 0 && node.gpus.count > 0) return SCORE_FOREIGN_GPUS;
    for (const name in node.total) {
      if (name !== 'cpu' && name !== 'memory' && name !== 'gpu' && this.request.resources[name] === undefined) return SCORE_FOREIGN_CUSTOM;
    }
    return 0;
  }

  /** From 0, none would be left, to 1. A part of a GPU goes where the least of one would be left, and to a whole one last. */
  #gpusLeft(row: number): number {
    const { available, total, width } = this.cluster;
    const whole = available[row * width + COLUMN.gpuWhole]! / RESOURCE_SCALE;
    const count = total[row * width + COLUMN.gpu]! / RESOURCE_SCALE;
    if (this.gpu >= RESOURCE_SCALE) return (whole - this.gpu / RESOURCE_SCALE) / (count + 1);
    return (whole + this.cluster.at(row)!.gpus.smallestLeft(this.gpu) / RESOURCE_SCALE) / (count + 1);
  }
}

/** A node without cpus runs only what names it, by a label, or asks for something that it has. */
export function offersItself(node: NodeRow, request: PlacementRequest): boolean {
  if ((node.total['cpu'] ?? 0) > 0 || request.labels.some((term) => term.weight === 0 && (term.operator === 'in' || term.operator === 'exists'))) return true;
  for (const _ in request.resources) return true;
  return false;
}
