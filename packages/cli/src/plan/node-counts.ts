/** `--add-nodes 4xgpu8`, `--add-nodes '2x{"cpus":16,"labels":{"rack":"new"}}'`. */
import { makeError } from '@muster/base';
import type { NodeType } from '@muster/scheduler';
import { readNodeType } from './demand.js';
import { Written } from './json-file.js';

/** As many as a cluster may have. */
const NODES_MAX = 10_000;

/** Nodes that join. */
export interface NodeCount {
  readonly type: NodeType;
  readonly count: number;
}

/** Reads the options, in their order. @throws MusterError INVALID_ARGUMENT */
export function readNodeCounts(texts: readonly string[], types: readonly NodeType[]): NodeCount[] {
  const inline = new Map<string, NodeType>();
  const counts = texts.map((text) => readNodeCount(text, types, inline));
  const sum = counts.reduce((total, { count }) => total + count, 0);
  if (sum > NODES_MAX) throw makeError('INVALID_ARGUMENT', { what: `--add-nodes for ${sum} nodes`, want: `for at most ${NODES_MAX}` });
  return counts;
}

function readNodeCount(text: string, types: readonly NodeType[], inline: Map<string, NodeType>): NodeCount {
  const [, digits, rest] = /^(?:(\d+)x)?(.+)$/s.exec(text) ?? [];
  if (rest === undefined) throw makeError('INVALID_ARGUMENT', { what: `--add-nodes '${text}'`, want: 'such as 4xgpu8, or 2x{"cpus":16}' });
  const count = digits === undefined ? 1 : Number(digits);
  if (!rest.startsWith('{')) return { type: knownType(rest, types), count };
  const type = inline.get(rest) ?? readNodeType(`node${inline.size + 1}`, Written.parse(rest, '--add-nodes'));
  inline.set(rest, type);
  return { type, count };
}

function knownType(name: string, types: readonly NodeType[]): NodeType {
  const type = types.find((each) => each.name === name);
  if (type !== undefined) return type;
  const known = types.length === 0 ? 'there are none: name a file of them with --node-types, or write them under nodeTypes of the demand' : `one of ${types.map((each) => each.name).join(', ')}`;
  throw makeError('INVALID_ARGUMENT', { what: `--add-nodes of the type '${name}'`, want: `of a known type (${known})` });
}
