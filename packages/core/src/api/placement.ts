/** Users' `placement`, checked and turned into the terms that the head takes. */
import { LABEL_WEIGHT_MAX, makeError, NODE_LABEL, parseLabels } from '@muster/base';
import { NO_PLACEMENT, type LabelTerm, type Placement as PlacementMessage } from '@muster/protocol';
import type { PlacementGroup } from './placement-group.js';
import type { Placement } from './types.js';

const NODE_KEYS = new Set(['node', 'soft']);
const LABELS_KEYS = new Set(['labels']);
const GROUP_KEYS = new Set(['group', 'bundle', 'captureChildTasks']);

/** `capturedBy`: the placement group in which what names no placement runs; empty: none. @throws MusterError INVALID_ARGUMENT */
export function placementOf(placement: Placement | undefined, capturedBy = ''): PlacementMessage {
  if (placement === undefined) return capturedBy === '' ? NO_PLACEMENT : { ...NO_PLACEMENT, groupId: capturedBy, capturesChildren: true };
  if (placement === 'spread') return { ...NO_PLACEMENT, spread: true };
  if (isObject(placement) && 'node' in placement) return { ...NO_PLACEMENT, labels: [nodeTerm(placement)] };
  if (isObject(placement) && 'labels' in placement) {
    checkKeys('placement', placement, LABELS_KEYS);
    return { ...NO_PLACEMENT, labels: parseLabels(placement.labels) };
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

/** @throws MusterError INVALID_ARGUMENT for a field that is not known */
export function checkKeys(what: string, value: object, known: ReadonlySet<string>): void {
  for (const key of Object.keys(value)) if (!known.has(key)) throw invalid(`${what} with '${key}'`, `made of ${[...known].join(', ')}`);
}

/** Whether it has fields. */
export const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null && !Array.isArray(value);

export const invalid = (what: string, want: string): Error => makeError('INVALID_ARGUMENT', { what, want });
