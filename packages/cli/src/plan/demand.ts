/** What `cluster plan` is asked: tasks, groups and types of nodes, as people and programs write them in JSON. */
import {
  GROUP_STRATEGIES, parseLabels, parseResources, parseTopology, RESOURCE_SCALE, type GroupStrategy, type LabelTerm, type ResourceOptions, type ResourceSet,
} from '@muster/base';
import type { NodeType, PlacementRequest, WantedGroups, WantedTasks } from '@muster/scheduler';
import { Written } from './json-file.js';

/** Of one kind. What is wanted beyond any cluster is not worth counting. */
const COUNT_MAX = 1_000_000;
/** As in the head. */
const BUNDLES_MAX = 10_000;
const KINDS_MAX = 10_000;

const RESOURCE_KEYS = ['cpus', 'gpus', 'memory', 'resources', 'labels'] as const;

/** Something with a name for the answer. */
type Named<Wanted> = Wanted & { readonly name: string };

/** A document, read. */
export interface Demand {
  readonly tasks: readonly Named<WantedTasks>[];
  readonly groups: readonly Named<WantedGroups>[];
  readonly nodeTypes: readonly NodeType[];
}

/** @throws MusterError INVALID_ARGUMENT with the place of what is wrong */
export function readDemand(written: Written): Demand {
  const { tasks, groups, nodeTypes } = written.fields(['tasks', 'groups', 'nodeTypes']);
  const list = (field: Written | undefined): readonly Written[] => {
    const items = field?.items('an array') ?? [];
    if (items.length > KINDS_MAX) throw field!.isNot(`at most ${KINDS_MAX} entries`, `with ${items.length}`);
    return items;
  };
  return {
    tasks: list(tasks).map((task, index) => readTasks(task, `tasks[${index}]`)), groups: list(groups).map((group, index) => readGroups(group, `groups[${index}]`)),
    nodeTypes: nodeTypes === undefined ? [] : readNodeTypes(nodeTypes),
  };
}

/** An object of types by their names. @throws MusterError INVALID_ARGUMENT */
export function readNodeTypes(written: Written): NodeType[] {
  return written.entries('an object of types of nodes by name, such as { "gpu8": { "cpus": 64, "gpus": 8 } }').map(([name, type]) => readNodeType(name, type));
}

/** `{ "cpus": 16, "gpus": 8, "labels": { "rack": "new" } }`. @throws MusterError INVALID_ARGUMENT */
export function readNodeType(name: string, written: Written): NodeType {
  const { labels, ...amounts } = written.fields(RESOURCE_KEYS);
  const total = readAmounts(written, amounts);
  if ((total['gpu'] ?? 0) % RESOURCE_SCALE !== 0) throw amounts.gpus!.isNot('a whole number: nodes have whole GPUs');
  const texts = labels?.entries('an object of texts, such as { "rack": "new" }').map(([key, label]) => [key, label.name()] as const) ?? [];
  return { name, total, labels: Object.fromEntries(texts) };
}

function readTasks(written: Written, defaultName: string): Named<WantedTasks> {
  const { name, count, ...rest } = written.fields(['name', 'count', ...RESOURCE_KEYS]);
  return { name: name?.name() ?? defaultName, count: count?.whole(0, COUNT_MAX) ?? 1, request: readRequest(written, rest, { cpus: 1 }) };
}

function readGroups(written: Written, defaultName: string): Named<WantedGroups> {
  const { name, count, bundles, strategy, topology } = written.fields(['name', 'count', 'bundles', 'strategy', 'topology']);
  const list = bundles?.items('an array of bundles such as [{ "count": 8, "gpus": 1 }]') ?? [];
  const all = list.flatMap((bundle) => {
    const { count: copies, ...rest } = bundle.fields(['count', ...RESOURCE_KEYS]);
    const request = readRequest(bundle, rest, {});
    if (Object.keys(request.resources).length === 0) throw bundle.isNot('made to ask for some of a resource: { "cpus": 1 }');
    return Array.from({ length: copies?.whole(1, BUNDLES_MAX) ?? 1 }, () => request);
  });
  if (all.length === 0 || all.length > BUNDLES_MAX) throw (bundles ?? written).isNot(`an array of 1 to ${BUNDLES_MAX} bundles`, bundles === undefined ? 'without bundles' : `with ${all.length}`);
  return {
    name: name?.name() ?? defaultName, count: count?.whole(0, COUNT_MAX) ?? 1,
    request: { bundles: all, strategy: strategy === undefined ? 'pack' : readStrategy(strategy), topology: topology?.as(parseTopology) ?? [] },
  };
}

function readStrategy(written: Written): GroupStrategy {
  if (!(GROUP_STRATEGIES as readonly unknown[]).includes(written.value)) throw written.isNot(`one of ${GROUP_STRATEGIES.join(', ')}`);
  return written.value as GroupStrategy;
}

type ResourceFields = Readonly<Partial<Record<(typeof RESOURCE_KEYS)[number], Written>>>;

/** As the options of tasks, bundles and nodes. */
function readRequest(written: Written, { labels, ...amounts }: ResourceFields, defaults: ResourceOptions): PlacementRequest {
  return { resources: readAmounts(written, amounts, defaults), labels: labels?.as(parseLabels) ?? ([] satisfies LabelTerm[]) };
}

function readAmounts(written: Written, { cpus, gpus, memory, resources }: Omit<ResourceFields, 'labels'>, defaults: ResourceOptions = {}): ResourceSet {
  for (const field of [cpus, gpus]) if (field !== undefined && typeof field.value !== 'number') throw field.isNot('a number');
  const custom = resources?.entries('an object of amounts, such as { "tpu": 1 }') ?? [];
  for (const [, field] of custom) if (typeof field.value !== 'number') throw field.isNot('a number');
  const values = Object.entries({ cpus, gpus, memory, resources }).flatMap(([key, field]) => (field === undefined ? [] : [[key, field.value] as const]));
  return written.as(() => parseResources({ ...defaults, ...Object.fromEntries(values) }));
}
