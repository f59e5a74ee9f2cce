/**
 * Why a request has no node, for people: how many nodes were looked at, one clause for each reason with how many nodes gave it, and what
 * would help. Worked out when it is asked for, from the cluster as it is then.
 */
import { fits, formatResources, NODE_LABEL, RESOURCE_SCALE, shortage, type ResourceSet } from '@muster/base';
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

/** Looks at every node. */
export function explain(cluster: Cluster, request: PlacementRequest): Explanation {
  return { isFeasible: new Shape(cluster, request).isFeasible, reasons: describe(cluster, request) };
}

/** Nodes that refuse for one reason. What they have is shown as the most that any of them has. */
interface Group {
  readonly nodeIds: string[];
  readonly have: Record<string, number>;
  /** Whether the nodes have different amounts. */
  differs: boolean;
  readonly clause: (group: Group) => string;
}

function describe(cluster: Cluster, request: PlacementRequest): string {
  const named = request.labels.find((term) => term.key === NODE_LABEL && term.operator === 'in' && term.weight === 0);
  const nodes = named === undefined ? [...cluster.rows()] : named.values.flatMap((nodeId) => cluster.rowOf(nodeId) ?? []);
  if (nodes.length === 0) return named === undefined ? 'the cluster has no nodes' : `${named.values.join(' and ')} ${named.values.length === 1 ? 'is' : 'are'} not in the cluster`;
  const groups = new Map<string, Group>();
  for (const node of nodes) {
    const refusal = refusalOf(cluster, node, request);
    const group = groups.get(refusal.key) ?? { nodeIds: [], have: refusal.have, differs: false, clause: refusal.clause };
    groups.set(refusal.key, group);
    group.nodeIds.push(node.nodeId);
    for (const name in refusal.have) {
      if (group.have[name] === refusal.have[name]) continue;
      group.differs = true;
      group.have[name] = Math.max(group.have[name]!, refusal.have[name]!);
    }
  }
  return join([...groups.values()].sort((a, b) => b.nodeIds.length - a.nodeIds.length || (a.nodeIds[0]! < b.nodeIds[0]! ? -1 : 1)));
}

function join(groups: readonly Group[]): string {
  const shown = groups.slice(0, REASONS_SHOWN_MAX).map((group) => {
    const who = group.nodeIds.length === 1 ? group.nodeIds[0] : `${group.nodeIds.length} nodes`;
    return `${who}: ${group.clause(group)}`;
  });
  const hidden = groups.slice(REASONS_SHOWN_MAX).reduce((sum, group) => sum + group.nodeIds.length, 0);
  return hidden === 0 ? shown.join('; ') : `${shown.join('; ')}; ${hidden} more nodes for other reasons`;
}

interface Refusal {
  readonly key: string;
  readonly have: Record<string, number>;
  readonly clause: (group: Group) => string;
}

/** The first reason that applies, the lasting ones before those that pass. */
function refusalOf(cluster: Cluster, node: NodeRow, request: PlacementRequest): Refusal {
  const fixed = (text: string): Refusal => ({ key: text, have: {}, clause: () => text });
  const { available } = cluster.view(node);
  const unmet = request.labels.filter((term) => term.weight === 0 && !satisfies(node, term));
  if (unmet.length > 0) return fixed(unmet.map(refusedTerm).join(' and '));
  if (!offersItself(node, request)) return fixed('offers no cpus, and runs only what names it');
  if (!fits(node.total, request.resources)) return lacking(node.total, request.resources, 'in all');
  if (node.condition === 'draining') return fixed('is draining and takes no more');
  if (node.condition === 'unreachable') return fixed('is cut off at the moment');
  if (!fits(available, request.resources)) return lacking(available, request.resources, 'free (busy until leases end)');
  const gpu = request.resources['gpu'] ?? 0;
  if (gpu > 0 && node.gpus.capacity(gpu) === 0) return fragmented(node, gpu);
  if (node.leaseCount >= LEASES_PER_NODE_MAX) return fixed(`holds ${node.leaseCount} leases, the most a node may`);
  return fixed('is kept free for a demand that has waited longer');
}

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
  return { key: text, have: {}, clause: () => text };
}

function lacking(available: ResourceSet, resources: ResourceSet, suffix: string): Refusal {
  const names = Object.keys(shortage(available, resources));
  const need = pick(resources, names);
  return {
    key: `${suffix}: ${names.join(' ')}`,
    have: pick(available, names),
    clause: (group) => `need ${formatResources(need)}, have ${group.differs ? 'at best ' : ''}${amounts(group.have)} ${suffix}`,
  };
}

const pick = (set: ResourceSet, names: readonly string[]): Record<string, number> =>
  Object.fromEntries(names.map((name) => [name, Math.max(0, set[name] ?? 0)]));

/** One resource needs no second mention of its name. */
function amounts(have: ResourceSet): string {
  const [only, ...others] = Object.keys(have);
  return only !== undefined && others.length === 0 && only !== 'memory' ? String(have[only]! / RESOURCE_SCALE) : formatResources(have);
}
