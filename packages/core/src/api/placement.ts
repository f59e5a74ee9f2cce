/** Users' `placement`, checked and turned into the terms that the head takes. */
import { LABEL_WEIGHT_MAX, makeError, NODE_LABEL } from '@muster/base';
import { NO_PLACEMENT, type LabelTerm, type Placement as PlacementMessage } from '@muster/protocol';
import type { PlacementGroup } from './placement-group.js';
import type { LabelCondition, Placement } from './types.js';

const NODE_KEYS = new Set(['node', 'soft']);
const LABELS_KEYS = new Set(['labels']);
const GROUP_KEYS = new Set(['group', 'bundle', 'captureChildTasks']);
const OPERATORS = ['in', 'notIn', 'exists'] as const;
const CONDITION_KEYS = new Set([...OPERATORS, 'weight']);

/** `capturedBy`: the placement group in which what names no placement runs; empty: none. @throws MusterError INVALID_ARGUMENT */
export function placementOf(placement: Placement | undefined, capturedBy = ''): PlacementMessage {
  if (placement === undefined) return capturedBy === '' ? NO_PLACEMENT : { ...NO_PLACEMENT, groupId: capturedBy, capturesChildren: true };
  if (placement === 'spread') return { ...NO_PLACEMENT, spread: true };
  if (isObject(placement) && 'node' in placement) return { ...NO_PLACEMENT, labels: [nodeTerm(placement)] };
  if (isObject(placement) && 'labels' in placement) {
    checkKeys('placement', placement, LABELS_KEYS);
    return { ...NO_PLACEMENT, labels: labelTerms(placement.labels) };
  }
  if (isObject(placement) && 'group' in placement) return inGroup(placement);
  throw invalid('placement', "'spread', { node }, { labels } or { group }");
}

function inGroup(placement: Extract<Placement, { readonly group: PlacementGroup }>): PlacementMessage {
  checkKeys('placement', placement, GROUP_KEYS);
  const { group, bundle, captureChildTasks = false } = placement;
  if (!isObject(group) || typeof group.id !== 'string' || !Array.isArray(group.bundles)) throw invalid('placement.group', 'what placementGroup() resolves with');
  const count = group.bundles.length;
  if (bundle !== undefined && !(Number.isInteger(bundle) && bundle >= 0 && bundle < count)) {
    throw invalid(`placement.bundle: ${String(bundle)}`, `one of 0 to ${count - 1}: the group has ${count} bundle${count === 1 ? '' : 's'}`);
  }
  if (typeof captureChildTasks !== 'boolean') throw invalid(`placement.captureChildTasks: ${String(captureChildTasks)}`, 'true or false');
  return { ...NO_PLACEMENT, groupId: group.id, bundle: bundle === undefined ? 0 : bundle + 1, capturesChildren: captureChildTasks };
}

function nodeTerm(placement: Extract<Placement, { readonly node: string }>): LabelTerm {
  checkKeys('placement', placement, NODE_KEYS);
  const { node, soft = false } = placement;
  if (typeof node !== 'string' || node === '') throw invalid(`placement.node: ${String(node)}`, 'the id of a node');
  if (typeof soft !== 'boolean') throw invalid(`placement.soft: ${String(soft)}`, 'true or false');
  return { key: NODE_LABEL, operator: 'in', values: [node], weight: soft ? LABEL_WEIGHT_MAX : 0 };
}

/** Users' conditions on labels, of a placement or of a bundle. @throws MusterError INVALID_ARGUMENT */
export function labelTerms(labels: Readonly<Record<string, LabelCondition>>): LabelTerm[] {
  if (!isObject(labels)) throw invalid('labels', "an object such as { zone: 'a' }");
  return Object.entries(labels).map(([key, condition]) => termOf(key, condition));
}

function termOf(key: string, condition: LabelCondition): LabelTerm {
  const what = `the label ${key}`;
  if (key === '') throw invalid('a label without a name', 'named');
  if (typeof condition === 'string') return { key, operator: 'in', values: [condition], weight: 0 };
  const operators = isObject(condition) ? OPERATORS.filter((operator) => operator in condition) : [];
  if (operators.length !== 1) throw invalid(what, 'a text, or an object with one of in, notIn and exists');
  checkKeys(what, condition, CONDITION_KEYS);
  const { weight = 0 } = condition;
  if (condition.weight !== undefined && !(Number.isInteger(weight) && weight >= 1 && weight <= LABEL_WEIGHT_MAX)) {
    throw invalid(`${what} with the weight ${String(weight)}`, `of a weight from 1 to ${LABEL_WEIGHT_MAX}, or of none: then only nodes that satisfy it will do`);
  }
  if ('exists' in condition) {
    if (typeof condition.exists !== 'boolean') throw invalid(`${what} that exists: ${String(condition.exists)}`, 'true or false');
    return { key, operator: condition.exists ? 'exists' : 'not-exists', values: [], weight };
  }
  const [operator, values] = 'in' in condition ? ['in', condition.in] as const : ['not-in', condition.notIn] as const;
  const areTexts = Array.isArray(values) && values.length > 0 && values.every((value) => typeof value === 'string');
  if (!areTexts) throw invalid(`${what} ${operator} ${String(values)}`, 'one or more texts in an array');
  return { key, operator, values: [...values], weight };
}

/** @throws MusterError INVALID_ARGUMENT for a field that is not known */
export function checkKeys(what: string, value: object, known: ReadonlySet<string>): void {
  for (const key of Object.keys(value)) if (!known.has(key)) throw invalid(`${what} with '${key}'`, `made of ${[...known].join(', ')}`);
}

/** Whether it has fields. */
export const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null && !Array.isArray(value);

export const invalid = (what: string, want: string): Error => makeError('INVALID_ARGUMENT', { what, want });
