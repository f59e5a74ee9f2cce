/** What a request says about the labels of nodes. */
import { NODE_LABEL, type LabelTerm } from '@muster/base';

/** The labels of a node, its own id among them. */
export interface Labelled {
  readonly nodeId: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** The node's value, or undefined. */
export function labelOf(node: Labelled, key: string): string | undefined {
  return key === NODE_LABEL ? node.nodeId : node.labels[key];
}

export function satisfies(node: Labelled, term: LabelTerm): boolean {
  const value = labelOf(node, term.key);
  switch (term.operator) {
    case 'in': return value !== undefined && term.values.includes(value);
    case 'not-in': return value === undefined || !term.values.includes(value);
    case 'exists': return value !== undefined;
    case 'not-exists': return value === undefined;
  }
}

/** `zone=a`, `zone in a|b`, `not disk=hdd`, `has rack`, `has no rack`. */
export function formatTerm({ key, operator, values }: LabelTerm): string {
  const list = values.length === 1 ? `${key}=${values[0]}` : `${key} in ${values.join('|')}`;
  switch (operator) {
    case 'in': return list;
    case 'not-in': return `not ${list}`;
    case 'exists': return `has ${key}`;
    case 'not-exists': return `has no ${key}`;
  }
}
