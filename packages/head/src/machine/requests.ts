/** Reads what others ask for. Nothing that has passed here can upset the head's arithmetic. */
import { LABEL_WEIGHT_MAX, makeError, RESOURCE_SCALE, type MusterError, type ResourceSet } from '@muster/base';
import {
  resourcesFromMessage, type CreateGroup, type Demand as DemandMessage, type LabelTerm as LabelTermMessage, type Resources, type TopologyTerm as TopologyTermMessage,
} from '@muster/protocol';
import { namesNodes, type GroupRequest, type GroupStrategy, type LabelTerm, type PlacementRequest, type TopologyTerm } from '@muster/scheduler';
import { termForBundle } from './group-pool.js';
import { GROUP_BUNDLES_MAX, LABEL_VALUES_MAX, LABELS_MAX, NAME_MAX_CHARS, RESOURCE_NAMES_MAX, TOPOLOGY_TERMS_MAX } from './limits.js';

/** Reads amounts; those of zero are left out. @throws MusterError PROTOCOL */
export function readResources(message: Resources | null): ResourceSet {
  const amounts = resourcesFromMessage(message);
  const names = Object.keys(amounts);
  if (names.length > RESOURCE_NAMES_MAX) throw refusal(`${names.length} resources, more than ${RESOURCE_NAMES_MAX}`);
  const set: Record<string, number> = {};
  for (const name of names) {
    // Names of Object's own members would be found in every set.
    if (name in Object.prototype) throw refusal(`the resource name ${name}`);
    if (amounts[name]! > 0) set[name] = amounts[name]!;
  }
  return set;
}

/** What a task or actor asks for. */
export interface DemandRequest {
  readonly request: PlacementRequest;
  readonly isSpread: boolean;
  /** What no node could ever hold waits for one that can. */
  readonly waitsForNodes: boolean;
  /** The placement group in whose bundles it runs; empty: in none. */
  readonly groupId: string;
  /** Whether what is made there runs in the group, too. */
  readonly capturesChildren: boolean;
  /** Of one task, or of an actor's life; null: nobody knows. */
  readonly expectedDurationMs: number | null;
}

/** @throws MusterError PROTOCOL */
export function readDemand(message: DemandMessage | null): DemandRequest {
  const request = readRequest(message);
  const expectedDurationMs = message?.expectedDurationMs || null;
  const { groupId = '', bundle = 0, spread: isSpread = false, capturesChildren = false } = message?.placement ?? {};
  if (groupId === '') { // ids of nodes that are gone do not return, so that who names one waits in vain
    const waitsForNodes = (message?.waitForNodes ?? false) && !namesNodes(request);
    return { request, isSpread, waitsForNodes, groupId, capturesChildren: false, expectedDurationMs };
  }
  if (isSpread || request.labels.length > 0) throw refusal('a demand in a placement group that is spread or names labels');
  const inBundle = { ...request, labels: [termForBundle(bundle === 0 ? null : bundle - 1)] };
  return { request: inBundle, isSpread, waitsForNodes: false, groupId, capturesChildren, expectedDurationMs };
}

/** @throws MusterError INVALID_ARGUMENT for a group that is none, and PROTOCOL */
export function readGroup({ groupId, bundles, strategy, topology }: CreateGroup): GroupRequest {
  const what = `the placement group ${groupId}`;
  const check = (isValid: boolean, found: string, want: string): void => {
    if (!isValid) throw makeError('INVALID_ARGUMENT', { what: `${what} ${found}`, want });
  };
  check(/^pg-\S+$/.test(groupId), 'by its id', 'pg- and a unique name');
  check(bundles.length >= 1 && bundles.length <= GROUP_BUNDLES_MAX, `of ${bundles.length} bundles`, `of 1 to ${GROUP_BUNDLES_MAX}`);
  check((STRATEGIES as readonly string[]).includes(strategy), `with the strategy '${strategy}'`, `with one of ${STRATEGIES.join(', ')}`);
  check(topology.length <= TOPOLOGY_TERMS_MAX, `with ${topology.length} levels`, `with at most ${TOPOLOGY_TERMS_MAX}`);
  const requests = new Map<string, PlacementRequest>(); // one object for equal bundles, of which there may be thousands
  const read = bundles.map((bundle, index) => {
    const key = JSON.stringify([bundle.resources?.amounts, bundle.placement?.labels]);
    const known = requests.get(key);
    if (known !== undefined) return known;
    const request = readRequest(bundle);
    check(Object.keys(request.resources).length > 0, `whose bundle ${index} asks for nothing`, 'made of bundles that each ask for some of a resource');
    requests.set(key, request);
    return request;
  });
  return { bundles: read, strategy: strategy as GroupStrategy, topology: topology.map((term) => readTopologyTerm(term, check)) };
}

const STRATEGIES = ['pack', 'spread', 'strict-pack', 'strict-spread'] as const satisfies readonly GroupStrategy[];

function readTopologyTerm({ level, rule, max }: TopologyTermMessage, check: (isValid: boolean, found: string, want: string) => void): TopologyTerm {
  check(level !== '', 'with a level without a name', 'with the names of labels');
  check(rule === 'same' || rule === 'spread' || rule === 'fewest', `with the rule '${rule}'`, 'with same, spread or fewest');
  check(rule !== 'spread' || max >= 1, `with at most ${max} bundles in one ${level}`, 'with at least 1');
  return { level, rule: rule as TopologyTerm['rule'], max: rule === 'spread' ? max : 0 };
}

/** @throws MusterError PROTOCOL */
function readRequest(message: DemandMessage | null): PlacementRequest {
  const resources = readResources(message?.resources ?? null);
  const gpus = resources['gpu'] ?? 0;
  if (gpus > RESOURCE_SCALE && gpus % RESOURCE_SCALE !== 0) throw refusal(`${gpus / RESOURCE_SCALE} gpus, neither a fraction below 1 nor a whole number`);
  const terms = message?.placement?.labels ?? [];
  if (terms.length > LABELS_MAX) throw refusal(`more than ${LABELS_MAX} labels`);
  return { resources, labels: terms.map(readTerm) };
}

function readTerm({ key, operator, values, weight }: LabelTermMessage): LabelTerm {
  if (operator !== 'in' && operator !== 'not-in' && operator !== 'exists' && operator !== 'not-exists') throw refusal(`the operator '${operator}' of a label`);
  if (values.length > LABEL_VALUES_MAX) throw refusal(`a label with more than ${LABEL_VALUES_MAX} values`);
  if (!Number.isSafeInteger(weight) || weight < 0 || weight > LABEL_WEIGHT_MAX) throw refusal(`a label of the weight ${weight}`);
  return { key, operator, values, weight };
}

/** A name for people, of bounded length. */
export const readName = (name: string): string => (name.length <= NAME_MAX_CHARS ? name : `${name.slice(0, NAME_MAX_CHARS - 1)}…`);

/** The failure of a message that breaks the rules: it ends the stream it came on. */
export const refusal = (cause: string): MusterError => makeError('PROTOCOL', { what: 'a peer', cause });
