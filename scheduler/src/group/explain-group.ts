/**
 * Why a group has no place, for people: where it comes closest to one, how many bundles of each class would find room there now, and how many if nothing
 * ran; and why the nodes there refuse the class that is the shortest.
 */
import { addResources, formatResources, NODE_LABEL, RESOURCE_SCALE, type LabelTerm, type ResourceSet, type TopologyTerm } from '@muster/base';
import type { Cluster, NodeRow } from '../cluster.js';
import { explain, explainOn, type Reasons } from '../explain.js';
import { formatTerm, labelOf } from '../labels.js';
import { requestKey, type GroupRequest, type PlacementRequest } from '../request.js';
import type { BundleClass } from './bundles.js';
import { GroupShape } from './plan-group.js';

/**
 * Looks at every node. Whether the group could ever be placed is for a plan on {@link Cluster.emptied} to say.
 * `survivors`: where other bundles of the group lie, which stay there; the request is then what it has lost.
 */
export function explainGroup(cluster: Cluster, request: GroupRequest, survivors: readonly string[] = []): Reasons {
  const { classes } = new GroupShape(cluster, request);
  const rest = new Rest(survivors.flatMap((nodeId) => cluster.rowOf(nodeId) ?? []), request);
  const levelled = [...cluster.rows()].filter((node) => request.topology.every(({ level }) => labelOf(node, level) !== undefined));
  const candidates = levelled.filter((node) => rest.allows(node));
  const what = `${describeGroup(request)}${survivors.length === 0 ? '' : ` beside the ${survivors.length} that ${survivors.length === 1 ? 'is' : 'are'} there`}`;
  if (candidates.length === 0) {
    if (levelled.length > 0) return { nodeCount: cluster.size, refusals: [], nearest: null, reasons: `${what}: no node is left beside those of its other bundles` };
    const { nodeCount, refusals, nearest, reasons } = explain(cluster, withLevels(classes[0]!.request, request.topology));
    return { nodeCount, refusals, nearest, reasons: `${what}: ${reasons}` };
  }
  const { domain, text } = closestDomain(candidates, classes, request, rest);
  const rooms = classes.map((each) => roomIn(domain.nodes, each, request, rest));
  const shortest = classes[rooms.indexOf(rooms.reduce((least, room) => (room.now / room.wanted < least.now / least.wanted ? room : least)))]!;
  const nodes = explainOn(cluster, onOneNode(request) ?? withLevels(shortest.request, request.topology), domain.nodes);
  const clauses = classes.map((each, index) => describeClass(each, rooms[index]!, request));
  const together = classes.length > 1 && rooms.every(({ now, wanted }) => now >= wanted) ? ['each has room by itself, and not all of them together'] : [];
  return {
    nodeCount: cluster.size, refusals: nodes.refusals, nearest: nodes.nearest,
    reasons: `${what}: ${text}${[...clauses, ...together, nodes.reasons].join('; ')}`,
  };
}

/** The bundles of a group that have a place, in the way of the others. */
class Rest {
  readonly #nodes: readonly NodeRow[];
  readonly #request: GroupRequest;

  constructor(nodes: readonly NodeRow[], request: GroupRequest) {
    this.#nodes = nodes;
    this.#request = request;
  }

  /** Whether the node may take more bundles: not where each has a node of its own, nor away from those that must be near. */
  allows(node: NodeRow): boolean {
    const [survivor] = this.#nodes;
    if (survivor === undefined) return true;
    const { strategy, topology } = this.#request;
    if (strategy === 'strict-spread' && this.#nodes.includes(node)) return false;
    if (strategy === 'strict-pack' && node !== survivor) return false;
    return topology.every(({ level, rule }) => rule !== 'same' || labelOf(node, level) === labelOf(survivor, level));
  }

  countIn(level: string, value: string): number {
    return this.#nodes.filter((node) => labelOf(node, level) === value).length;
  }
}

/** For people: `3 × (8 gpu) on a node each, all in one rack`. */
export function formatGroup(request: GroupRequest): string {
  const counts = new Map<string, { readonly bundle: PlacementRequest; count: number }>();
  let key = '';
  request.bundles.forEach((bundle, index) => {
    if (bundle !== request.bundles[index - 1]) key = requestKey(bundle); // equal ones are mostly one object
    const known = counts.get(key);
    if (known === undefined) counts.set(key, { bundle, count: 1 });
    else known.count++;
  });
  return `${[...counts.values()].map(({ bundle, count }) => formatBundles(bundle, count)).join(', ')}${whereOf(request)}`;
}

/** `8 bundles on a node each, all in one rack`. */
export const describeGroup = (request: GroupRequest): string => `${request.bundles.length} bundle${request.bundles.length === 1 ? '' : 's'}${whereOf(request)}`;

const formatBundles = ({ resources, labels }: PlacementRequest, count: number): string => `${count} × (${[formatResources(resources), ...labels.map(formatTerm)].join(', ')})`;

/** Follows how many bundles there are. */
function whereOf({ bundles, strategy, topology }: GroupRequest): string {
  const where = { pack: 'close together', spread: 'apart', 'strict-pack': 'on one node', 'strict-spread': 'on a node each' }[strategy];
  const levels = topology.map(({ level, rule, max }) =>
    ({ same: `all in one ${level}`, spread: `at most ${max} in one ${level}`, fewest: `in as few ${level}s as can be` })[rule]);
  return [bundles.length === 1 ? '' : ` ${where}`, ...levels].join(', '); // one bundle is neither close to others nor apart
}

function describeClass({ members, request }: BundleClass, { now, idle }: Room, { topology }: GroupRequest): string {
  const bound = topology.filter(({ rule }) => rule === 'spread').length > 1 ? 'at most ' : ''; // limits of several levels may let in fewer than each of them
  const room = (count: number): string => (count === 0 ? 'none' : `${bound}${count}`);
  return `${formatBundles(request, members.length)}: room for ${room(now)} now, for ${room(idle)} if nothing ran`;
}

/** Nodes among which all of a group must lie. */
interface Domain {
  /** Of a level, such as `r0`. */
  readonly name: string;
  readonly nodes: NodeRow[];
}

/** The one that has room for the most of the group if nothing ran, and, of several such, now; and what to say of it. */
function closestDomain(candidates: readonly NodeRow[], classes: readonly BundleClass[], request: GroupRequest, rest: Rest): { domain: Domain; text: string } {
  const levels = request.strategy === 'strict-pack' ? [NODE_LABEL] : request.topology.filter(({ rule }) => rule === 'same').map(({ level }) => level);
  const all = { domain: { name: '', nodes: [...candidates] }, text: '' };
  if (levels.length === 0) return all;
  const domains = new Map<string, Domain>();
  for (const node of candidates) {
    const name = levels.map((level) => labelOf(node, level)!).join(', ');
    const known = domains.get(name);
    if (known === undefined) domains.set(name, { name, nodes: [node] });
    else known.nodes.push(node);
  }
  let closest: { readonly domain: Domain; readonly idle: number; readonly now: number } | null = null;
  for (const domain of domains.values()) {
    const rooms = classes.map((each) => roomIn(domain.nodes, each, request, rest));
    const idle = rooms.reduce((sum, room) => sum + room.idle, 0);
    const now = rooms.reduce((sum, room) => sum + room.now, 0);
    if (closest === null || idle > closest.idle || (idle === closest.idle && now > closest.now)) closest = { domain, idle, now };
  }
  const { domain, idle } = closest!;
  if (idle === 0) return all; // none comes closer than others
  return { domain, text: domains.size === 1 ? '' : `of ${domains.size} ${levels.join(' and ')}s, ${domain.name} comes closest: ` };
}

/** How many of a class. */
interface Room {
  readonly now: number;
  readonly idle: number;
  readonly wanted: number;
}

/** For how many of the class the nodes have room, alone: the most that each level lets in. */
function roomIn(nodes: readonly NodeRow[], each: BundleClass, { strategy, topology }: GroupRequest, rest: Rest): Room {
  const wanted = each.members.length;
  const perNode = strategy === 'strict-spread' ? 1 : wanted;
  const limits = topology.filter(({ rule }) => rule === 'spread');
  const counts = { now: 0, idle: 0 };
  const byLevel = limits.map(() => ({ now: new Map<string, number>(), idle: new Map<string, number>() }));
  for (const node of nodes) {
    const room = { now: each.shape.capacity(node, perNode), idle: each.shape.capacityOfIdle(node, perNode) };
    for (const kind of ['now', 'idle'] as const) {
      counts[kind] += room[kind];
      limits.forEach(({ level }, index) => {
        const values = byLevel[index]![kind];
        const value = labelOf(node, level)!;
        values.set(value, (values.get(value) ?? 0) + room[kind]);
      });
    }
  }
  const most = (kind: 'now' | 'idle'): number => limits.reduce((least, { level, max }, index) => {
    let sum = 0;
    for (const [value, count] of byLevel[index]![kind]) sum += Math.min(Math.max(0, max - rest.countIn(level, value)), count);
    return Math.min(least, sum);
  }, counts[kind]);
  return { now: Math.min(wanted, most('now')), idle: Math.min(wanted, most('idle')), wanted };
}

/** What a bundle asks of its node with the levels that the node must have. */
function withLevels({ resources, labels }: PlacementRequest, topology: readonly TopologyTerm[]): PlacementRequest {
  const levels = topology.map(({ level }): LabelTerm => ({ key: level, operator: 'exists', values: [], weight: 0 }));
  return { resources, labels: [...labels, ...levels] };
}

/** All bundles of a group that one node must hold, as one request; null when they need not, or when they share GPUs, whose parts do not add up. */
function onOneNode({ bundles, strategy, topology }: GroupRequest): PlacementRequest | null {
  if (strategy !== 'strict-pack' || bundles.some(({ resources }) => (resources['gpu'] ?? 0) % RESOURCE_SCALE !== 0)) return null;
  const resources = bundles.reduce<ResourceSet>((sum, bundle) => addResources(sum, bundle.resources), {});
  return withLevels({ resources, labels: bundles.flatMap(({ labels }) => labels) }, topology);
}
