/** What users, head and scheduler agree on about the labels of nodes, and how users write conditions on them. */
import { makeError, type MusterError } from './errors.js';

/** A node's own id counts as its label of this name. */
export const NODE_LABEL = 'node';

/** The most that a node with a label can be preferred. */
export const LABEL_WEIGHT_MAX = 100;

/** One condition on one label. A node without the label satisfies `not-in` and `not-exists`. */
export interface LabelTerm {
  readonly key: string;
  readonly operator: 'in' | 'not-in' | 'exists' | 'not-exists';
  /** Of `in` and `not-in`; else empty. */
  readonly values: readonly string[];
  /** 0: only nodes that satisfy it. Else how much such a node is preferred, from 1 to LABEL_WEIGHT_MAX. */
  readonly weight: number;
}

/** What users write that a label must be: a text; or one of several, none of several, there or not there. With a weight from 1 to 100, only preferred by that much. */
export type LabelCondition = string | ((
  | { readonly in: readonly string[] }
  | { readonly notIn: readonly string[] }
  | { readonly exists: boolean }
) & { readonly weight?: number });

/** The strategies by which a placement group's bundles lie on nodes. */
export const GROUP_STRATEGIES = ['pack', 'spread', 'strict-pack', 'strict-spread'] as const;
/** One of {@link GROUP_STRATEGIES}. */
export type GroupStrategy = (typeof GROUP_STRATEGIES)[number];

/**
 * How a group lies in one level of the cluster, which is a label: `nvlink-domain`, `rack`, `zone` or any other.
 *   same    all bundles on nodes of one value
 *   spread  at most `max` bundles on nodes of one value
 *   fewest  on nodes of as few values as can be
 * Of each, nodes without the label are no candidates.
 */
export interface TopologyTerm {
  readonly level: string;
  readonly rule: 'same' | 'spread' | 'fewest';
  /** Of `spread`; else 0. */
  readonly max: number;
}

/** What users write of one level: all bundles on nodes of one value of that label; at most so many on nodes of one value; on nodes of as few values as can be. */
export type TopologyRule = 'same' | { readonly atMost: number } | 'fewest';

const OPERATORS = ['in', 'notIn', 'exists'] as const;
const CONDITION_KEYS = new Set([...OPERATORS, 'weight']);

/** Reads users' conditions on labels. @throws MusterError INVALID_ARGUMENT */
export function parseLabels(labels: Readonly<Record<string, LabelCondition>>): LabelTerm[] {
  if (!isObject(labels)) throw invalid('labels', "an object such as { zone: 'a' }");
  return Object.entries(labels).map(([key, condition]) => parseCondition(key, condition));
}

function parseCondition(key: string, condition: LabelCondition): LabelTerm {
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

/** Reads users' rules for levels. @throws MusterError INVALID_ARGUMENT */
export function parseTopology(topology: Readonly<Record<string, TopologyRule>>): TopologyTerm[] {
  if (!isObject(topology)) throw invalid(`topology: ${String(topology)}`, "an object such as { rack: 'same' }");
  return Object.entries(topology).map(([level, rule]) => parseRule(level, rule));
}

function parseRule(level: string, rule: TopologyRule): TopologyTerm {
  if (level === '') throw invalid('a level of the topology without a name', 'the name of a label');
  if (rule === 'same' || rule === 'fewest') return { level, rule, max: 0 };
  if (isObject(rule) && Object.keys(rule).length === 1 && Number.isInteger(rule.atMost) && rule.atMost >= 1) return { level, rule: 'spread', max: rule.atMost };
  throw invalid(`the rule of the level ${level}`, "'same', 'fewest', or { atMost: n } with n of 1 or more");
}

/** @throws MusterError INVALID_ARGUMENT for a field that is not known */
function checkKeys(what: string, value: object, known: ReadonlySet<string>): void {
  for (const key of Object.keys(value)) if (!known.has(key)) throw invalid(`${what} with '${key}'`, `made of ${[...known].join(', ')}`);
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null && !Array.isArray(value);

const invalid = (what: string, want: string): MusterError => makeError('INVALID_ARGUMENT', { what, want });
