/**
 * Why a request has no node, for people: how many nodes were looked at, one clause for each reason with how many nodes gave it, and what
 * would help. Worked out when it is asked for, from the cluster as it is then.
 */
import { formatResources, NODE_LABEL, RESOURCE_SCALE, type LabelTerm, type ResourceSet } from '@muster/base';
import { COLUMN, LEASES_PER_NODE_MAX, type Cluster, type NodeRow } from './cluster.js';
import { formatTerm, labelOf, satisfies } from './labels.js';
import type { PlacementRequest } from './request.js';
import { offersItself, Shape } from './shape.js';

/** A text about a large cluster stays readable: the reasons of the fewest nodes are left out. */
const REASONS_SHOWN_MAX = 8;
/** Of a label that no node has as it is asked for: enough to see a slip of the pen. */
const VALUES_SHOWN_MAX = 5;

/** Why a request, or a group of them, waits. */
export interface Reasons {
  /** How many nodes were looked at: all, or those that the request names. */
  readonly nodeCount: number;
  /** Each node is counted once, by the first reason that applies, the lasting ones before those that pass. That of the most nodes comes first. */
  readonly refusals: readonly Refusal[];
  /** Of the nodes that could hold it and are busy, neither draining nor cut off: the one where the least must come free. */
  readonly nearest: Nearest | null;
  /** All of it in words, such as `of 9 nodes, 8 have at most 2 cpu free of 4 needed; node-x lacks label zone=a`. */
  readonly reasons: string;
}

/** Why a request waits. */
export interface Explanation extends Reasons {
  /** Whether some node could hold the request if nothing else ran on it. */
  readonly isFeasible: boolean;
}

/** What the rows of a cluster are, for people. */
export interface RowWords {
  readonly singular: string;
  readonly plural: string;
  /** What they are rows of. */
  readonly whole: string;
  /** Said of those that are unreachable. */
  readonly unreachable: (isMany: boolean) => string;
}

/** Nodes that refuse for one reason. */
export interface Refusal {
  readonly nodeCount: number;
  /** One of them. */
  readonly nodeId: string;
  /** A clause that follows their names. */
  readonly why: string;
}

/** A node that would do if something came free. */
export interface Nearest {
  readonly nodeId: string;
  /** How much more must be free. Of GPUs: of whole ones, or of one. */
  readonly lacks: ResourceSet;
}

const NODES: RowWords = { singular: 'node', plural: 'nodes', whole: 'the cluster', unreachable: (isMany) => `${is(isMany)} cut off at the moment` };

/** Looks at every node. */
export function explain(cluster: Cluster, request: PlacementRequest, words = NODES): Explanation {
  const named = request.labels.find((term) => term.key === NODE_LABEL && term.operator === 'in' && term.weight === 0);
  const nodes = named === undefined ? [...cluster.rows()] : named.values.flatMap((nodeId) => cluster.rowOf(nodeId) ?? []);
  if (nodes.length > 0) return explainOn(cluster, request, nodes, words);
  return { isFeasible: false, nodeCount: 0, refusals: [], nearest: null, reasons: ofNoNode(named, words) };
}

/** The same of some nodes, at least one. */
export function explainOn(cluster: Cluster, request: PlacementRequest, nodes: readonly NodeRow[], words = NODES): Explanation {
  const shape = new Shape(cluster, request);
  const verdicts = new Verdicts(shape, words);
  for (const node of nodes) verdicts.look(node);
  const refusals = verdicts.refusals();
  const { isFeasible } = shape;
  const help = isFeasible ? verdicts.nearestInWords() : [...missingLabels(cluster, request, words), ...withoutLabels(cluster, request, words)];
  return { isFeasible, nodeCount: nodes.length, refusals, nearest: verdicts.nearest, reasons: [join(refusals, nodes.length, words), ...help].join('; ') };
}

function ofNoNode(named: LabelTerm | undefined, { plural, whole }: RowWords): string {
  if (named === undefined) return `${whole} has no ${plural}`;
  return `${named.values.join(' and ')} ${named.values.length === 1 ? 'is' : 'are'} not in ${whole}`;
}

function join(refusals: readonly Refusal[], nodeCount: number, { plural }: RowWords): string {
  const [only, ...others] = refusals;
  if (others.length === 0) return `${nodeCount === 1 ? only!.nodeId : nodeCount === 2 ? `both ${plural}` : `all ${nodeCount} ${plural}`} ${only!.why}`;
  const shown = refusals.slice(0, REASONS_SHOWN_MAX).map((refusal) => `${refusal.nodeCount === 1 ? refusal.nodeId : refusal.nodeCount} ${refusal.why}`);
  const hidden = refusals.slice(REASONS_SHOWN_MAX).reduce((sum, refusal) => sum + refusal.nodeCount, 0);
  return `of ${nodeCount} ${plural}, ${shown.join('; ')}${hidden === 0 ? '' : `; ${hidden} refuse for other reasons`}`;
}

/** The values that there are of labels which no node has as the request wants them. */
function missingLabels(cluster: Cluster, { labels }: PlacementRequest, { singular }: RowWords): string[] {
  const rows = [...cluster.rows()];
  return labels.filter((term) => term.weight === 0 && term.operator === 'in' && term.key !== NODE_LABEL && !rows.some((node) => satisfies(node, term))).map(({ key }) => {
    const values = [...new Set(rows.flatMap((node) => labelOf(node, key) ?? []))].sort();
    const shown = values.length > VALUES_SHOWN_MAX ? [...values.slice(0, VALUES_SHOWN_MAX), `${values.length - VALUES_SHOWN_MAX} others`] : values;
    return values.length === 0 ? `no ${singular} has a label ${key}` : `known values of ${key}: ${shown.join(', ')}`;
  });
}

/** Whether it is only the labels that make the request impossible. Who names nodes wants no others. */
function withoutLabels(cluster: Cluster, { resources, labels }: PlacementRequest, { singular, plural }: RowWords): string[] {
  if (!labels.some((term) => term.weight === 0) || labels.some((term) => term.key === NODE_LABEL)) return [];
  const bare = new Shape(cluster, { resources, labels: [] });
  let count = 0;
  for (const node of cluster.rows()) if (bare.suits(node)) count++;
  return count === 0 ? [] : [`without its labels, ${count === 1 ? `one ${singular}` : `${count} ${plural}`} could hold it`];
}

/** How nodes refuse: the same for all that are told of together. */
interface Kind {
  /** Tells it from others. */
  readonly key: string;
  /** The clause; `isMany`: of several nodes. */
  readonly say: (isMany: boolean, have: Have) => string;
  readonly lacks: readonly Need[];
}

/** Of what a kind of nodes lacks, what they have of it. */
interface Have {
  /** The most that any of them has, by the need's name. */
  readonly most: Record<string, number>;
  /** Which has the most of the first need. */
  nodeId: string;
  /** Whether they have different amounts. */
  differs: boolean;
}

interface Tally extends Have {
  readonly kind: Kind;
  readonly firstId: string;
  count: number;
}

/** One amount that the request needs. Of GPUs also the whole ones, or the part of one, that it needs. */
interface Need {
  readonly name: string;
  readonly amount: number;
  /** Undefined: no node ever had any. */
  readonly column: number | undefined;
}

/** Sorts nodes by why they refuse one request. */
class Verdicts {
  nearest: Nearest | null = null;
  readonly #shape: Shape;
  readonly #cluster: Cluster;
  readonly #request: PlacementRequest;
  readonly #unreachable: Kind;
  readonly #needs: readonly Need[];
  /** What of a GPU a lease needs at once, beside the sum. */
  readonly #device: Need | null;
  readonly #tallies = new Map<string, Tally>();
  /** By what is lacking, a bit for each need: thousands of nodes lack the same. */
  readonly #lasting = new Map<number, Kind>();
  readonly #passing = new Map<number, Kind>();
  #nearestDistance = Infinity;
  #busyCount = 0;
  /** Whether busy nodes lack different amounts. */
  #busyDiffer = false;

  constructor(shape: Shape, words: RowWords) {
    const { cluster, request } = shape;
    this.#shape = shape;
    this.#cluster = cluster;
    this.#request = request;
    this.#unreachable = fixed(words.unreachable);
    this.#needs = Object.entries(request.resources).filter(([, amount]) => amount > 0).map(([name, amount]) => ({ name, amount, column: cluster.columnOf(name) }));
    const gpu = request.resources['gpu'] ?? 0;
    this.#device = gpu === 0 ? null : { name: gpu < RESOURCE_SCALE ? 'of one gpu' : 'whole gpu', amount: gpu, column: gpu < RESOURCE_SCALE ? COLUMN.gpuPart : COLUMN.gpuWhole };
  }

  look(node: NodeRow): void {
    const kind = this.#kindOf(node);
    let tally = this.#tallies.get(kind.key);
    if (tally === undefined) this.#tallies.set(kind.key, (tally = { kind, firstId: node.nodeId, count: 0, most: {}, nodeId: node.nodeId, differs: false }));
    tally.count++;
    kind.lacks.forEach((need, index) => {
      const amount = this.#amount(kind, node, need);
      const most = (tally.most[need.name] ??= amount);
      if (amount === most) return;
      tally.differs = true;
      if (amount < most) return;
      tally.most[need.name] = amount;
      if (index === 0) tally.nodeId = node.nodeId;
    });
  }

  refusals(): Refusal[] {
    return [...this.#tallies.values()].sort((a, b) => b.count - a.count || (a.firstId < b.firstId ? -1 : 1))
      .map((tally) => ({ nodeCount: tally.count, nodeId: tally.firstId, why: tally.kind.say(tally.count > 1, tally) }));
  }

  nearestInWords(): string[] {
    if (this.nearest === null || this.#busyCount < 2 || !this.#busyDiffer) return [];
    return [`${this.nearest.nodeId} comes closest and lacks ${formatResources(this.nearest.lacks)}`];
  }

  /** The first reason that applies. */
  #kindOf(node: NodeRow): Kind {
    if (this.#shape.fits(node)) return ROOM;
    const { labels } = this.#request;
    if (labels.some((term) => refuses(node, term))) return ofLabels(labels.filter((term) => refuses(node, term)));
    if (!offersItself(node, this.#request)) return fixed((isMany) => `${isMany ? 'offer' : 'offers'} no cpus, and ${isMany ? 'run' : 'runs'} only what names ${isMany ? 'them' : 'it'}`);
    const never = this.#lacking(node, this.#cluster.total, this.#lasting, 'in total');
    if (never !== null) return never;
    if (node.condition === 'draining') return DRAINING;
    if (node.condition === 'unreachable') return this.#unreachable;
    this.#measure(node);
    const now = this.#lacking(node, this.#cluster.available, this.#passing, 'free');
    if (now !== null) return now;
    if (this.#device !== null && this.#free(node, this.#device) < this.#device.amount) return inParts(this.#device);
    if (node.leaseCount >= LEASES_PER_NODE_MAX) return FULL;
    return RESERVED;
  }

  #lacking(node: NodeRow, amounts: Float64Array, known: Map<number, Kind>, suffix: 'in total' | 'free'): Kind | null {
    const at = node.row * this.#cluster.width;
    const isLacking = ({ column, amount }: Need): boolean => column === undefined || amounts[at + column]! < amount;
    let bits = 0;
    for (let i = 0; i < this.#needs.length; i++) if (isLacking(this.#needs[i]!)) bits += 2 ** i;
    if (bits === 0) return null;
    let kind = known.get(bits);
    if (kind === undefined) known.set(bits, (kind = ofAmounts(this.#needs.filter(isLacking), suffix)));
    return kind;
  }

  #amount({ key }: Kind, node: NodeRow, { column }: Need): number {
    if (column === undefined) return 0;
    const amounts = key.startsWith('in total') ? this.#cluster.total : this.#cluster.available;
    return Math.max(0, amounts[node.row * this.#cluster.width + column]!);
  }

  #free(node: NodeRow, { column }: Need): number {
    return column === undefined ? 0 : this.#cluster.available[node.row * this.#cluster.width + column]!;
  }

  /** How far a node that could hold the request is from it: the sum, over what it lacks, of the lacking share. */
  #measure(node: NodeRow): void {
    const lacks: Record<string, number> = {};
    let distance = 0;
    for (const need of this.#needs) {
      const missing = need.amount - Math.max(0, this.#free(node, need.name === 'gpu' ? this.#device! : need));
      if (missing <= 0) continue;
      lacks[need.name] = missing;
      distance += missing / need.amount;
    }
    if (distance === 0) return;
    if (this.#busyCount++ > 0 && distance !== this.#nearestDistance) this.#busyDiffer = true;
    if (distance >= this.#nearestDistance) return;
    this.#nearestDistance = distance;
    this.nearest = { nodeId: node.nodeId, lacks };
  }
}

const fixed = (say: (isMany: boolean) => string): Kind => ({ key: say(false), say, lacks: [] });

const is = (isMany: boolean): string => (isMany ? 'are' : 'is');

const ROOM = fixed((isMany) => `${isMany ? 'have' : 'has'} room`);
const DRAINING = fixed((isMany) => `${is(isMany)} draining and ${isMany ? 'take' : 'takes'} no more`);
const RESERVED = fixed((isMany) => `${is(isMany)} kept free for a demand that has waited longer`);
const FULL = fixed((isMany) => `${isMany ? 'hold' : 'holds'} ${LEASES_PER_NODE_MAX} leases, the most a node may`);

function ofAmounts(lacks: readonly Need[], suffix: 'in total' | 'free'): Kind {
  const [only, ...others] = lacks;
  const isPlain = others.length === 0 && only!.name !== 'memory'; // one resource needs no second mention of its name
  const needed = isPlain ? only!.amount / RESOURCE_SCALE : formatResources(Object.fromEntries(lacks.map(({ name, amount }) => [name, amount])));
  return {
    key: `${suffix}: ${lacks.map(({ name }) => name).join(' ')}`, lacks,
    say: (isMany, { most, differs, nodeId }) => {
      const where = differs && lacks.length === 1 && suffix === 'in total' ? ` (${nodeId})` : '';
      return `${isMany ? 'have' : 'has'} ${differs ? 'at most ' : ''}${formatResources(most)} ${suffix}${where} of ${needed} needed`;
    },
  };
}

/** Enough of GPUs is free, but in parts of several of them. */
function inParts(device: Need): Kind {
  return {
    key: `free: ${device.name}`, lacks: [device],
    say: (isMany, { most, differs }) =>
      `${isMany ? 'have' : 'has'} ${differs ? 'at most ' : ''}${most[device.name]! / RESOURCE_SCALE} ${device.name} free of ${device.amount / RESOURCE_SCALE} needed`,
  };
}

const refuses = (node: NodeRow, term: LabelTerm): boolean => term.weight === 0 && !satisfies(node, term);

function ofLabels(terms: readonly LabelTerm[]): Kind {
  return fixed((isMany) => terms.map((term) => refusedTerm(term, isMany)).join(' and '));
}

function refusedTerm(term: LabelTerm, isMany: boolean): string {
  const { key, operator } = term;
  const [lacks, has] = isMany ? ['lack', 'have'] : ['lacks', 'has'];
  switch (operator) {
    case 'in': return `${lacks} label ${formatTerm(term)}`;
    case 'not-in': return `${has} label ${formatTerm({ ...term, operator: 'in' })}`;
    case 'exists': return `${lacks} label ${key}`;
    case 'not-exists': return `${has} label ${key}`;
  }
}
