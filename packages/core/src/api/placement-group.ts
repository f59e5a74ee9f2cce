/** `placementGroup(bundles)`: resources on one or several nodes that are had together or not at all, and the handle through which tasks and actors use them. */
import {
  formatDurationMs, GROUP_STRATEGIES, makeError, newId, parseLabels, parseResources, parseTopology, systemRandom,
  type GroupId, type GroupStrategy, type LabelCondition, type ResourceOptions, type TopologyRule,
} from '@muster/base';
import { failureFromMessage, NO_PLACEMENT, type CreateGroup, type Demand } from '@muster/protocol';
import type { GroupClient } from '../machine/groups.js';
import { requireSession } from './current.js';
import { checkKeys, invalid, isObject } from './placement.js';
import { FORM, type SpecialForm } from './special.js';
import type { Placement } from './types.js';

/** What one bundle has: some of a resource, on a node whose labels satisfy all of the conditions. */
export interface BundleOptions extends ResourceOptions {
  readonly labels?: Readonly<Record<string, LabelCondition>>;
}

export interface PlacementGroupOptions {
  /**
   * How bundles lie on nodes. `pack`: on as few as can be; `spread`: on as many as can be; `strict-pack`: all on one; `strict-spread`: each on a node of its
   * own. Default `pack`.
   */
  readonly strategy?: GroupStrategy;
  /** By level, which is the name of a label of nodes such as `rack`, `zone` or `nvlink-domain`. */
  readonly topology?: Readonly<Record<string, TopologyRule>>;
  /** Shown in `cluster list groups` and in errors. */
  readonly name?: string;
  /** How long it may wait for room before it is given up with a TimeoutError. Default: no limit. */
  readonly timeoutMs?: number;
  /** How long it will be there at most, as far as you know: others that wait for its room are promised it by then. Default: nobody knows. */
  readonly expectedDurationMs?: number;
  /** Wait for nodes that could hold it, where those that there are never could. Default: fail at once. */
  readonly waitForNodes?: boolean;
}

/** Where a bundle lies. */
export interface PlacedBundle {
  /** Null: its node was lost, and it has no other place yet. */
  readonly nodeId: string | null;
}

/** Bundles that are there together. A handle travels to tasks and actors as a value; the group ends with the process that made it. */
export interface PlacementGroup extends AsyncDisposable {
  readonly id: string;
  /** `repairing`: a node was lost, and its bundles are being placed again. */
  readonly state: 'created' | 'repairing' | 'removed';
  /** In the order in which they were asked for. */
  readonly bundles: readonly PlacedBundle[];
  /** Resolves when all bundles have their places: at once, unless the group is being repaired. @throws UnschedulableError when it was removed */
  ready(): Promise<void>;
  /** Gives everything back; tasks and actors in it end. Repeatable. */
  remove(): Promise<void>;
}

const OPTION_KEYS = new Set(['strategy', 'topology', 'name', 'timeoutMs', 'waitForNodes', 'expectedDurationMs']);
const BUNDLE_KEYS = new Set(['cpus', 'gpus', 'memory', 'resources', 'labels']);
/** As in the head. */
const BUNDLES_MAX = 10_000;

/**
 * Has all of the bundles placed, or none of them: resolves when their resources are held.
 *
 * @example
 * const group = await placementGroup([{ cpus: 1, gpus: 1 }, { cpus: 1, gpus: 1 }], { strategy: 'strict-pack' });
 * await train.options({ gpus: 1, placement: { group, bundle: 0 } })();
 * await group.remove();
 * @throws UnschedulableError when no nodes that there are could ever hold it; TimeoutError after `timeoutMs`, with what it waits for
 */
export async function placementGroup(bundles: readonly BundleOptions[], options: PlacementGroupOptions = {}): Promise<PlacementGroup> {
  const request = requestOf(bundles, options);
  const session = requireSession();
  await session.ready;
  const client = session.owner.groups.create(newId('pg', systemRandom), request);
  let isLate = false; // then it is removed, also if it is created meanwhile
  const giveUp = (): void => {
    isLate = true;
    session.owner.groups.remove(client);
  };
  const timer = options.timeoutMs === undefined ? null : setTimeout(giveUp, options.timeoutMs);
  try {
    await session.waiting(reached(client, (state) => state === 'removed' || (state === 'created' && !isLate)));
  } finally {
    if (timer) clearTimeout(timer);
  }
  if (!isLate && client.state.state === 'created') return new Handle(client);
  checkRemoved(client);
  const { reasons } = client.state;
  const limit = `${formatDurationMs(options.timeoutMs!)}${reasons === '' ? '' : ` (${reasons})`}`;
  throw makeError('TIMEOUT', { what: `the placement group ${options.name ?? client.id}`, limit });
}

/** Resolves when the group is in such a state. @throws MusterError when the connection is lost */
function reached(client: GroupClient, isReached: (state: string) => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    client.watch(({ state }) => {
      if (client.lostWith) reject(client.lostWith);
      else if (isReached(state)) resolve();
      else return false;
      return true;
    });
  });
}

/** @throws MusterError why the group was removed, if nobody asked for that */
function checkRemoved({ state: { failure } }: GroupClient): void {
  if (failure) throw failureFromMessage(failure);
}

class Handle implements PlacementGroup {
  readonly id: string;
  readonly #client: GroupClient;

  constructor(client: GroupClient) {
    this.id = client.id;
    this.#client = client;
  }

  get [FORM](): SpecialForm {
    return { form: 'placement-group', parts: [JSON.stringify(this)] };
  }

  get state(): PlacementGroup['state'] {
    return this.#client.state.state as PlacementGroup['state']; // a handle is made of what has been created
  }

  get bundles(): readonly PlacedBundle[] {
    return this.#client.state.nodeIds.map((nodeId) => ({ nodeId: nodeId === '' ? null : nodeId }));
  }

  async ready(): Promise<void> {
    await requireSession().waiting(reached(this.#client, (state) => state === 'created' || state === 'removed'));
    checkRemoved(this.#client);
    if (this.state === 'removed') throw makeError('UNSCHEDULABLE', { what: `the placement group ${this.id}`, reasons: 'it was removed' });
  }

  async remove(): Promise<void> {
    const session = requireSession();
    session.owner.groups.remove(this.#client);
    await session.waiting(reached(this.#client, (state) => state === 'removed'));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.remove();
  }

  /** What it travels as: see {@link optionsToText}. */
  toJSON(): HandleParts {
    return { groupId: this.id, nodeIds: this.#client.state.nodeIds };
  }
}

interface HandleParts {
  readonly groupId: string;
  readonly nodeIds: readonly string[];
}

/** A handle that arrived in a value. */
export function placementGroupFromParts([text]: readonly unknown[]): PlacementGroup {
  return fromJson(JSON.parse(text as string) as HandleParts);
}

const fromJson = ({ groupId, nodeIds }: HandleParts): PlacementGroup => new Handle(requireSession().owner.groups.client(groupId as GroupId, nodeIds));

/** Options of a remote function or an actor's class, which travel with it: a placement group among them as what makes its handle again. */
export const optionsToText = (options: object): string => JSON.stringify(options);

export function optionsFromText<Options extends { readonly placement?: Placement }>(text: string): Options {
  const options = JSON.parse(text) as Options;
  const { placement } = options;
  if (!isObject(placement) || !('group' in placement)) return options;
  return { ...options, placement: { ...placement, group: fromJson(placement.group as unknown as HandleParts) } };
}

// ---------------------------------------------------------------- what the head is asked

/** @throws MusterError INVALID_ARGUMENT */
function requestOf(bundles: readonly BundleOptions[], options: PlacementGroupOptions): Omit<CreateGroup, 'groupId'> {
  if (!isObject(options)) throw invalid(`options: ${String(options)}`, "an object such as { strategy: 'spread' }");
  checkKeys('options', options, OPTION_KEYS);
  const { strategy = 'pack', topology = {}, name = '', timeoutMs, waitForNodes = false, expectedDurationMs = 0 } = options;
  if (!Array.isArray(bundles) || bundles.length === 0) throw invalid('bundles', 'an array of at least one bundle such as { cpus: 1 }');
  if (bundles.length > BUNDLES_MAX) throw invalid(`${bundles.length} bundles`, `at most ${BUNDLES_MAX}`);
  if (!GROUP_STRATEGIES.includes(strategy)) throw invalid(`strategy: ${String(strategy)}`, `one of ${GROUP_STRATEGIES.join(', ')}`);
  if (typeof name !== 'string') throw invalid(`name: ${String(name)}`, 'a text');
  if (typeof waitForNodes !== 'boolean') throw invalid(`waitForNodes: ${String(waitForNodes)}`, 'true or false');
  if (timeoutMs !== undefined && !(timeoutMs > 0 && timeoutMs < 2 ** 31)) throw invalid(`timeoutMs: ${timeoutMs}`, 'a positive number of milliseconds');
  if (options.expectedDurationMs !== undefined && !(Number.isSafeInteger(expectedDurationMs) && expectedDurationMs > 0)) {
    throw invalid(`expectedDurationMs: ${expectedDurationMs}`, 'a whole number of milliseconds above 0');
  }
  const made = bundles.map((bundle, index) => ({ ...bundleOf(bundle, index), expectedDurationMs }));
  return { name, bundles: made, strategy, topology: parseTopology(topology), waitForNodes };
}

function bundleOf(bundle: BundleOptions, index: number): Omit<Demand, 'expectedDurationMs'> {
  const what = `bundle ${index}`;
  if (!isObject(bundle)) throw invalid(`${what}: ${String(bundle)}`, 'an object such as { cpus: 1 }');
  checkKeys(what, bundle, BUNDLE_KEYS);
  const { cpus, gpus, memory, resources, labels = {} } = bundle;
  const amounts = parseResources({ cpus, gpus, memory, resources });
  if (Object.keys(amounts).length === 0) throw invalid(`${what}, which asks for nothing`, 'of some resource: { cpus: 1 }, { gpus: 0.5 }');
  return { resources: { amounts }, placement: { ...NO_PLACEMENT, labels: parseLabels(labels) }, waitForNodes: false };
}
