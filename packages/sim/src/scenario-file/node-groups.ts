/** The `[[nodes]]` of a scenario file: so many of one kind, and labels by pattern. */
import type { NodeSpec } from '../cluster.js';
import type { Fields } from './fields.js';

/** Equal nodes but for their labels. */
export interface NodeGroup {
  readonly count: number;
  /** What a node is, by its number in the cluster. */
  readonly spec: (number: number) => NodeSpec;
}

/** As many as a head takes. */
const NODES_MAX = 10_000;
const CPUS_MAX = 4096;
const DEFAULT_STORE = '64MiB';

/** Reads all kinds. @throws MusterError INVALID_ARGUMENT */
export function readGroups(root: Fields): readonly NodeGroup[] {
  const groups = root.tables('nodes').map(readGroup);
  const count = groups.reduce((sum, group) => sum + group.count, 0);
  if (count === 0) throw root.error('nodes', 'at least one [[nodes]] with a count');
  if (count >= NODES_MAX) throw root.error('nodes', `fewer than ${NODES_MAX} nodes in all; the drivers have one of their own`);
  return groups;
}

function readGroup(fields: Fields): NodeGroup {
  const count = fields.integer('count', { min: 1, max: NODES_MAX }, 1);
  const cpus = fields.integer('cpus', { min: 0, max: CPUS_MAX });
  const gpus = fields.integer('gpus', { min: 0, max: CPUS_MAX }, 0);
  const memoryMib = fields.has('memory') ? fields.sizeBytes('memory') / 2 ** 20 : 0;
  const resources: Record<string, number> = { ...fields.amounts('resources'), ...(gpus > 0 ? { gpu: gpus } : {}), ...(memoryMib > 0 ? { memory: memoryMib } : {}) };
  const objectStoreBytes = fields.sizeBytes('object-store', DEFAULT_STORE);
  const prestart = fields.integer('prestart', { min: 0, max: CPUS_MAX }, Math.min(cpus, 1));
  const labels = readLabels(fields);
  fields.end();
  return { count, spec: (number) => ({ cpus, objectStoreBytes, resources, prestart, labels: Object.fromEntries(labels.map(([key, pattern]) => [key, fillIn(pattern, number)])) }) };
}

function readLabels(fields: Fields): readonly (readonly [string, string])[] {
  const labels = Object.entries(fields.optionalTable('labels')?.table ?? {});
  for (const [key, pattern] of labels) {
    const holes = typeof pattern === 'string' ? (pattern.match(/\{[^}]*\}/g) ?? []) : null;
    if (holes === null || !holes.every((hole) => /^\{i([/%][1-9]\d*)?\}$/.test(hole))) {
      throw fields.error('labels', `texts in which {i} stands for the node's number, {i/16} for a sixteenth of it, {i%3} for the rest; ${key} is none`);
    }
  }
  return labels as [string, string][];
}

/** `r{i/16}` for node 35 is `r2`. */
function fillIn(pattern: string, number: number): string {
  return pattern.replace(/\{i(?:([/%])(\d+))?\}/g, (_, operator: string | undefined, divisor: string) => {
    if (operator === undefined) return String(number);
    return String(operator === '/' ? Math.floor(number / Number(divisor)) : number % Number(divisor));
  });
}

