/**
 * Why a request has no node, for people: how many nodes were looked at, one clause for each reason with how many nodes gave it, and what
 * would help. Worked out when it is asked for, from the cluster as it is then.
 */
import { formatResources, NODE_LABEL, RESOURCE_SCALE, type ResourceSet } from '@muster/base';
import { LEASES_PER_NODE_MAX, type Cluster, type NodeRow } from './cluster.js';
import { formatTerm, satisfies, type LabelTerm } from './labels.js';
import type { PlacementRequest } from './request.js';
import { offersItself, Shape } from './shape.js';

/** A text about a large cluster stays readable: the reasons of the fewest nodes are left out. */
const REASONS_SHOWN_MAX = 8;

/** Why a request waits. */
export interface Explanation {
  /** Whether some node could hold the request if nothing else ran on it. */
  readonly isFeasible: boolean;
  /** For example `2 nodes: need 4 cpu, have 2 free (busy until leases end); node-x: lacks label zone=a`. */
  readonly reasons: string;
}

/** What the rows of a cluster are, for people. */
export interface RowWords {
  readonly plural: string;
  /** What they are rows of. */
  readonly whole: string;
  /** Said of one that is unreachable. */
  readonly unreachable: string;
}

const NODES: RowWords = { plural: 'nodes', whole: 'the cluster', unreachable: 'is cut off at the moment' };

/** Looks at every node. */
export function explain(cluster: Cluster, request: PlacementRequest, words = NODES): Explanation {
  return { isFeasible: new Shape(cluster, request).isFeasible, reasons: describe(cluster, request, words) };
}

/** Nodes that refuse for one reason. */
interface Group {
  readonly nodeIds: string[];
  readonly refusal: Refusal;
  /** Of what they lack, the most that any of them has. */
  readonly have: Record<string, number>;
  /** Whether they have different amounts. */
  differs: boolean;
}

function describe(cluster: Cluster, request: PlacementRequest, words: RowWords): string {
  const named = request.labels.find((term) => term.key === NODE_LABEL && term.operator === 'in' && term.weight === 0);
  const nodes = named === undefined ? [...cluster.rows()] : named.values.flatMap((nodeId) => cluster.rowOf(nodeId) ?? []);
  if (nodes.length === 0) return named === undefined ? `${words.whole} has no ${words.plural}` : `${named.values.join(' and ')} ${named.values.length === 1 ? 'is' : 'are'} not in ${words.whole}`;
  const refusals = new Refusals(cluster, request, words);
  const groups = new Map<string, Group>();
  for (const node of nodes) {
    const refusal = refusals.of(node);
    let group = groups.get(refusal.reason);
    if (group === undefined) groups.set(refusal.reason, (group = { nodeIds: [], refusal, have: {}, differs: false }));
    group.nodeIds.push(node.nodeId);
    for (const { name, column } of refusal.lacks) {
      const amount = column === undefined ? 0 : Math.max(0, refusal.amounts[node.row * cluster.width + column]!);
      const most = (group.have[name] ??= amount);
      if (amount === most) continue;
      group.differs = true;
      if (amount > most) group.have[name] = amount;
    }
  }
  return join([...groups.values()].sort((a, b) => b.nodeIds.length - a.nodeIds.length || (a.nodeIds[0]! < b.nodeIds[0]! ? -1 : 1)), words);
}

function join(groups: readonly Group[], { plural }: RowWords): string {
  const shown = groups.slice(0, REASONS_SHOWN_MAX).map((group) => {
    const who = group.nodeIds.length === 1 ? group.nodeIds[0] : `${group.nodeIds.length} ${plural}`;
    return `${who}: ${clauseOf(group)}`;
  });
  const hidden = groups.slice(REASONS_SHOWN_MAX).reduce((sum, group) => sum + group.nodeIds.length, 0);
  return hidden === 0 ? shown.join('; ') : `${shown.join('; ')}; ${hidden} more ${plural} for other reasons`;
}

function clauseOf({ refusal: { reason, lacks, suffix }, have, differs }: Group): string {
  if (lacks.length === 0) return reason;
  const need = Object.fromEntries(lacks.map(({ name, amount }) => [name, amount]));
  return `need ${formatResources(need)}, have ${differs ? 'at best ' : ''}${amounts(have)} ${suffix}`;
}

interface Need {
  readonly name: string;
  readonly amount: number;
  /** Undefined: no node ever had any. */
  readonly column: number | undefined;
}

interface Refusal {
  /** Equal for nodes that are told of together. */
  readonly reason: string;
  /** Of what the node has too little in these amounts, which are rows of the cluster. */
  readonly lacks: readonly Need[];
  readonly amounts: Float64Array;
  readonly suffix: string;
}

const fixed = (reason: string): Refusal => ({ reason, lacks: [], amounts: NO_AMOUNTS, suffix: '' });
const NO_AMOUNTS = new Float64Array(0);

/** Why nodes refuse one request. */
class Refusals {
  readonly #cluster: Cluster;
  readonly #request: PlacementRequest;
  readonly #words: RowWords;
  readonly #needs: readonly Need[];
  /** By what is lacking, a bit for each need: thousands of nodes lack the same. */
  readonly #lasting = new Map<number, Refusal>();
  readonly #passing = new Map<number, Refusal>();

  constructor(cluster: Cluster, request: PlacementRequest, words: RowWords) {
    this.#cluster = cluster;
    this.#request = request;
    this.#words = words;
    this.#needs = Object.entries(request.resources).map(([name, amount]) => ({ name, amount, column: cluster.columnOf(name) }));
  }

  /** The first reason that applies, the lasting ones before those that pass. */
  of(node: NodeRow): Refusal {
    const { resources, labels } = this.#request;
    if (labels.some((term) => refuses(node, term))) return fixed(labels.filter((term) => refuses(node, term)).map(refusedTerm).join(' and '));
    if (!offersItself(node, this.#request)) return fixed('offers no cpus, and runs only what names it');
    const never = this.#lacking(node, this.#cluster.total, this.#lasting, 'in all');
    if (never !== null) return never;
    if (node.condition === 'draining') return fixed('is draining and takes no more');
    if (node.condition === 'unreachable') return fixed(this.#words.unreachable);
    const now = this.#lacking(node, this.#cluster.available, this.#passing, 'free (busy until leases end)');
    if (now !== null) return now;
    const gpu = resources['gpu'] ?? 0;
    if (gpu > 0 && node.gpus.capacity(gpu) === 0) return fragmented(node, gpu);
    if (node.leaseCount >= LEASES_PER_NODE_MAX) return fixed(`holds ${node.leaseCount} leases, the most a node may`);
    return fixed('is kept free for a demand that has waited longer');
  }

  #lacking(node: NodeRow, amounts: Float64Array, known: Map<number, Refusal>, suffix: string): Refusal | null {
    const at = node.row * this.#cluster.width;
    const isLacking = ({ column, amount }: Need): boolean => column === undefined || amounts[at + column]! < amount;
    let bits = 0;
    for (let i = 0; i < this.#needs.length; i++) if (isLacking(this.#needs[i]!)) bits += 2 ** i;
    if (bits === 0) return null;
    let refusal = known.get(bits);
    if (refusal === undefined) {
      const lacks = this.#needs.filter(isLacking);
      known.set(bits, (refusal = { reason: `${suffix}: ${lacks.map(({ name }) => name).join(' ')}`, lacks, amounts, suffix }));
    }
    return refusal;
  }
}

const refuses = (node: NodeRow, term: LabelTerm): boolean => term.weight === 0 && !satisfies(node, term);

function refusedTerm(term: LabelTerm): string {
  const { key, operator } = term;
  switch (operator) {
    case 'in': return `lacks label ${formatTerm(term)}`;
    case 'not-in': return `has label ${formatTerm({ ...term, operator: 'in' })}`;
    case 'exists': return `lacks label ${key}`;
    case 'not-exists': return `has label ${key}`;
  }
}

/** Enough of GPUs is free, but in parts of several of them. */
function fragmented(node: NodeRow, gpu: number): Refusal {
  const text = gpu < RESOURCE_SCALE
    ? `needs ${gpu / RESOURCE_SCALE} of one gpu, has at most ${node.gpus.largestPart / RESOURCE_SCALE} of one free`
    : `needs ${gpu / RESOURCE_SCALE} whole gpus, has ${node.gpus.wholeCount} that nothing uses a part of`;
  return fixed(text);
}

/** One resource needs no second mention of its name. */
function amounts(have: ResourceSet): string {
  const [only, ...others] = Object.keys(have);
  return only !== undefined && others.length === 0 && only !== 'memory' ? String(have[only]! / RESOURCE_SCALE) : formatResources(have);
}
