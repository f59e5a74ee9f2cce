/** Users' `placement`, checked and turned into the terms that the head takes. */
import { LABEL_WEIGHT_MAX, makeError, NODE_LABEL } from '@muster/base';
import { NO_PLACEMENT, type LabelTerm, type Placement as PlacementMessage } from '@muster/protocol';
import type { LabelCondition, Placement } from './types.js';

const NODE_KEYS = new Set(['node', 'soft']);
const LABELS_KEYS = new Set(['labels']);
const OPERATORS = ['in', 'notIn', 'exists'] as const;
const CONDITION_KEYS = new Set([...OPERATORS, 'weight']);

/** @throws MusterError INVALID_ARGUMENT */
export function placementOf(placement: Placement | undefined): PlacementMessage {
  if (placement === undefined) return NO_PLACEMENT;
  if (placement === 'spread') return { ...NO_PLACEMENT, spread: true };
  if (isObject(placement) && 'node' in placement) return { ...NO_PLACEMENT, labels: [nodeTerm(placement)] };
  if (isObject(placement) && 'labels' in placement) return { ...NO_PLACEMENT, labels: labelTerms(placement) };
  throw invalid('placement', "'spread', { node } or { labels }");
}

function nodeTerm(placement: Extract<Placement, { readonly node: string }>): LabelTerm {
  checkKeys('placement', placement, NODE_KEYS);
  const { node, soft = false } = placement;
  if (typeof node !== 'string' || node === '') throw invalid(`placement.node: ${String(node)}`, 'the id of a node');
  if (typeof soft !== 'boolean') throw invalid(`placement.soft: ${String(soft)}`, 'true or false');
  return { key: NODE_LABEL, operator: 'in', values: [node], weight: soft ? LABEL_WEIGHT_MAX : 0 };
}

function labelTerms(placement: Extract<Placement, { readonly labels: object }>): LabelTerm[] {
  checkKeys('placement', placement, LABELS_KEYS);
  const { labels } = placement;
  if (!isObject(labels)) throw invalid('placement.labels', "an object such as { zone: 'a' }");
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

function checkKeys(what: string, value: object, known: ReadonlySet<string>): void {
  for (const key of Object.keys(value)) if (!known.has(key)) throw invalid(`${what} with '${key}'`, `made of ${[...known].join(', ')}`);
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null && !Array.isArray(value);

const invalid = (what: string, want: string): Error => makeError('INVALID_ARGUMENT', { what, want });
