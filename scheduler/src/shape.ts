/**
 * A request prepared against a cluster: which nodes fit it, and which of them is best. It keeps a score for every row of the cluster, in a tournament, and is
 * brought up to date from the cluster's changes: a decision costs a few operations for each row that has changed since the last one.
 *
 * A node's score, the lowest of which wins; equal ones go by row:
 *   - unmet preferences of labels, by their weight;
 *   - what the node has that the request has no use for (GPUs, custom resources): others need it more;
 *   - for GPUs, the share of GPUs that would be left, so that nodes fill up one after the other and whole nodes stay free for gangs;
 *   - else the used share of whichever requested resource the node has used most of, so that load is even.
 */
import { RESOURCE_SCALE } from '@muster/base';
import { CHANGES_KEPT, COLUMN, isCustom, type Cluster, type NodeRow } from './cluster.js';
import { satisfies } from './labels.js';
import type { PlacementRequest } from './request.js';
import { Tournament } from './tournament.js';

/** Shares of what is used or left count up to 1 in a score, and these in front of them. */
const SCORE_FOREIGN_GPUS = 2;
const SCORE_FOREIGN_CUSTOM = 1;
const SCORE_PER_WEIGHT = 4;
/** By {@link Cluster.extras}. */
const BASES_OF_EXTRAS = Float32Array.of(0, SCORE_FOREIGN_CUSTOM, SCORE_FOREIGN_GPUS, SCORE_FOREIGN_GPUS);
const BASES_OF_EXTRAS_WITH_GPU = Float32Array.of(Infinity, Infinity, 0, SCORE_FOREIGN_CUSTOM);

/** Rows that may join before the scores move to a larger tree, as a part of those that are there. */
const ROWS_TO_SPARE = 0.25;

/** The rows that have changed and their scores before, while a shape follows the changes. Of whichever does, one after the other. */
const rowsChanged = new Int32Array(CHANGES_KEPT + 1);
const scoresBefore = new Float32Array(CHANGES_KEPT);

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
  /** By row; Infinity where the request does not fit now. */
  #scores = new Tournament(0);
  /** How many rows there is room for. */
  #size = 0;
  /** Whether all that counts of a node's nature is what it has extra. Most requests are so, and need to remember nothing of each row. */
  readonly #isPlain: boolean;
  /** The part of the score that follows from the node's nature: of a plain request by its extras, else by row. Infinity if it could never take the request. */
  #bases: Float32Array<ArrayBuffer>;
  /** A node that could take the request, when it was last asked for. */
  #suited: NodeRow | null = null;
  /** The epoch in which no node could. */
  #infeasibleEpoch: number | null = null;
  #version = -1;
  #epoch = 0;

  constructor(cluster: Cluster, request: PlacementRequest) {
    this.cluster = cluster;
    this.request = request;
    this.hasPreferences = request.labels.some((term) => term.weight > 0);
    this.gpu = request.resources['gpu'] ?? 0;
    this.#isPlain = isPlain(request);
    this.#bases = this.gpu > 0 ? BASES_OF_EXTRAS_WITH_GPU : BASES_OF_EXTRAS;
    this.#findColumns();
  }

  /** The best node, or null when none fits. */
  best(): NodeRow | null {
    this.#refresh();
    const row = this.#scores.first();
    return row === null ? null : this.cluster.at(row);
  }

  /** The node's score; Infinity where the request does not fit now. */
  score(node: NodeRow): number {
    this.#refresh();
    return this.#scores.at(node.row);
  }

  /** Whether the node can take the request now. */
  fits(node: NodeRow): boolean {
    return this.score(node) !== Infinity;
  }

  /** Whether what is free of the node is enough, whatever its condition: of a reserved one, that is for whom it is kept to ask. */
  hasRoom(node: NodeRow): boolean {
    return this.suits(node) && this.#holds(this.cluster.available, node.row);
  }

  /** Whether the node could take the request if nothing else ran on it. */
  suits(node: NodeRow): boolean {
    this.#knowColumns();
    return node.condition !== 'draining' && this.#holds(this.cluster.total, node.row) && this.#accepts(node);
  }

  /** The weight of the preferences of labels that the node does not meet. */
  unmet(node: NodeRow): number {
    let unmet = 0;
    for (const term of this.request.labels) if (term.weight > 0 && !satisfies(node, term)) unmet += term.weight;
    return unmet;
  }

  /** Whether any node could ever take the request. */
  get isFeasible(): boolean {
    const { cluster } = this;
    if (this.#suited !== null && cluster.at(this.#suited.row) === this.#suited && this.suits(this.#suited)) return true;
    if (this.#infeasibleEpoch === cluster.epoch) return false;
    this.#suited = this.#findSuited();
    this.#infeasibleEpoch = this.#suited === null ? cluster.epoch : null;
    return this.#suited !== null;
  }

  #findSuited(): NodeRow | null {
    for (const node of this.cluster.rows()) if (this.suits(node)) return node;
    return null;
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

  /** Those that no node had before, and so no column. */
  #knowColumns(): void {
    if (this.#unknownOf !== null && this.#unknownOf !== this.cluster.resourceCount) this.#findColumns();
  }

  #refresh(): void {
    const { cluster } = this;
    if (this.#version === cluster.version) return;
    this.#knowColumns();
    const isComplete = this.#version >= 0 && cluster.rowCount <= this.#size && this.#follow();
    if (!isComplete) this.#rebuild();
    this.#version = cluster.version;
    this.#epoch = cluster.epoch;
  }

  /**
   * Looks at the rows that have changed; false when more has changed than is remembered. The scores before lie far from the processor, which
   * fetches many such things at a time if nothing hangs on one before the next: hence a pass for them alone.
   */
  #follow(): boolean {
    const { changes, changedAt, version, natureChanges, epoch } = this.cluster;
    if (version - this.#version > changes.length || epoch - this.#epoch > natureChanges.length) return false;
    for (let e = this.#epoch; e < epoch; e++) this.#meet(natureChanges[e % natureChanges.length]!);
    const scores = this.#scores;
    let count = 0;
    for (let v = this.#version; v < version; v++) {
      const row = (rowsChanged[count] = changes[v % changes.length]!);
      count += Number(changedAt[row] === v) & Number(this.#baseOf(row) !== Infinity);
    }
    for (let i = 0; i < count; i++) scoresBefore[i] = scores.at(rowsChanged[i]!);
    for (let i = 0; i < count; i++) {
      const row = rowsChanged[i]!;
      const score = Math.fround(this.#scoreAt(row));
      if (score !== scoresBefore[i]) scores.set(row, score);
    }
    return true;
  }

  #rebuild(): void {
    const { rowCount } = this.cluster;
    this.#size = Math.ceil(rowCount * (1 + ROWS_TO_SPARE));
    this.#scores = new Tournament(this.#size);
    if (!this.#isPlain) this.#bases = new Float32Array(this.#size);
    for (let row = 0; row < rowCount; row++) {
      this.#meet(row);
      this.#scores.set(row, Math.fround(this.#scoreAt(row)));
    }
  }

  #scoreAt(row: number): number {
    const { isReady, available, total, width } = this.cluster;
    const base = this.#baseOf(row);
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

  /** The part of the row's score that follows from the node's nature. */
  #baseOf(row: number): number {
    return this.#bases[this.#isPlain ? this.cluster.extras[row]! : row]!;
  }

  /** The node is new, has gone, or could hold other things than before. */
  #meet(row: number): void {
    if (!this.#isPlain) {
      const node = this.cluster.at(row);
      const isCandidate = node !== null && this.#unknownOf === null && this.#accepts(node);
      this.#bases[row] = isCandidate ? this.unmet(node) * SCORE_PER_WEIGHT + this.#foreign(node) : Infinity;
    }
    if (this.#baseOf(row) === Infinity) this.#scores.set(row, Infinity);
  }

  #holds(amounts: Float64Array, row: number): boolean {
    if (this.#unknownOf !== null) return false;
    for (let i = 0; i < this.#columns.length; i++) if (amounts[row * this.cluster.width + this.#columns[i]!]! < this.#needs[i]!) return false;
    return true;
  }

  /** Whether what the request says of labels allows the node. */
  #accepts(node: NodeRow): boolean {
    for (const term of this.request.labels) if (term.weight === 0 && !satisfies(node, term)) return false;
    return offersItself(node, this.request);
  }

  #foreign(node: NodeRow): number {
    if (this.gpu === 0 && node.gpus.count > 0) return SCORE_FOREIGN_GPUS;
    for (const name in node.total) if (isCustom(name) && this.request.resources[name] === undefined) return SCORE_FOREIGN_CUSTOM;
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

/** No word of labels or custom resources, and of something that a node without cpus may have, too. */
function isPlain({ resources, labels }: PlacementRequest): boolean {
  const names = Object.keys(resources);
  return labels.length === 0 && names.length > 0 && !names.some(isCustom);
}

/** A node without cpus runs only what names it, by a label, or asks for something that it has. */
export function offersItself(node: NodeRow, request: PlacementRequest): boolean {
  if ((node.total['cpu'] ?? 0) > 0 || request.labels.some((term) => term.weight === 0 && (term.operator === 'in' || term.operator === 'exists'))) return true;
  for (const _ in request.resources) return true;
  return false;
}
