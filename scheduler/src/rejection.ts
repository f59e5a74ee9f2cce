/**
 * Why a request has no node, for people: one clause per reason, with how many nodes gave it.
 *
 * Most rejections are never read (the request is placed a moment later), so both answers are worked out when they are
 * first asked for. The snapshot never changes, so they are those of the moment of the decision.
 */
import { fits, formatResources, RESOURCE_SCALE, shortage, type ResourceSet } from '@muster/base';
import { LEASES_PER_NODE_MAX, offersItself, type ClusterSnapshot, type NodeView, type PlacementRequest } from './cluster.js';

/** A text about a large cluster stays readable: the reasons of the fewest nodes are left out. */
const REASONS_SHOWN_MAX = 8;

/** A refused request. */
export class Rejection {
  readonly #snapshot: ClusterSnapshot;
  readonly #request: PlacementRequest;
  #feasible: boolean | null = null;
  #reasons: string | null = null;

  constructor(snapshot: ClusterSnapshot, request: PlacementRequest) {
    this.#snapshot = snapshot;
    this.#request = request;
  }

  /** Whether some node could hold the request if nothing else ran on it. */
  get feasible(): boolean {
    return (this.#feasible ??= this.#snapshot.nodes.some((node) => canEverTake(node, this.#request)));
  }

  /** For example `2 nodes: need 4 cpu, have 2 free (busy until leases end); node-x: lacks label zone=a`. */
  get reasons(): string {
    return (this.#reasons ??= describe(this.#snapshot, this.#request));
  }
}

function canEverTake(node: NodeView, request: PlacementRequest): boolean {
  return node.condition !== 'draining' && (request.nodeId === '' || request.nodeId === node.nodeId)
    && missingLabels(node, request).length === 0 && fits(node.total, request.resources) && offersItself(node, request);
}

function missingLabels(node: NodeView, request: PlacementRequest): string[] {
  return Object.keys(request.labels).filter((key) => node.labels[key] !== request.labels[key]);
}

/** Nodes that refuse for one reason. What they have is shown as the most that any of them has. */
interface Group {
  readonly nodeIds: string[];
  readonly have: Record<string, number>;
  /** Whether the nodes have different amounts. */
  differs: boolean;
  readonly clause: (group: Group) => string;
}

function describe(snapshot: ClusterSnapshot, request: PlacementRequest): string {
  const nodes = request.nodeId === '' ? snapshot.nodes : snapshot.nodes.filter((node) => node.nodeId === request.nodeId);
  if (nodes.length === 0) return request.nodeId === '' ? 'the cluster has no nodes' : `${request.nodeId} is not in the cluster`;
  const groups = new Map<string, Group>();
  for (const node of nodes) {
    const refusal = refusalOf(node, request);
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
function refusalOf(node: NodeView, request: PlacementRequest): Refusal {
  const fixed = (text: string): Refusal => ({ key: text, have: {}, clause: () => text });
  const labels = missingLabels(node, request);
  if (labels.length > 0) return fixed(`lacks label ${labels.map((key) => `${key}=${request.labels[key]}`).join(', ')}`);
  if (!offersItself(node, request)) return fixed('offers no cpus, and runs only what names it');
  if (!fits(node.total, request.resources)) return lacking(node.total, request.resources, 'in all');
  if (node.condition === 'draining') return fixed('is draining and takes no more');
  if (node.condition === 'unreachable') return fixed('is cut off at the moment');
  if (!fits(node.available, request.resources)) return lacking(node.available, request.resources, 'free (busy until leases end)');
  if (node.leaseCount >= LEASES_PER_NODE_MAX) return fixed(`holds ${node.leaseCount} leases, the most a node may`);
  return fixed('is kept free for a demand that has waited longer');
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
