/** Who holds what a demand waits for: on the node that comes closest, those with the most of what is lacking there. */
import { formatDurationMs, wholeAmount, formatSizeBytes, type ResourceSet } from '@muster/base';
import type { Nearest } from '@muster/scheduler';
import type { HeadContext } from '../machine/context.js';
import { taken, type Lease } from '../machine/leases.js';
import type { Nodes } from '../machine/nodes.js';

/** Nobody asks more than this many to make room. */
const HOLDERS_SHOWN_MAX = 3;

interface Holder {
  readonly name: string;
  amount: number;
  leases: number;
  sinceMs: number;
}

/** The tables in which holders are found. */
export interface HolderTables {
  readonly context: HeadContext;
  readonly nodes: Nodes;
}

/** `of the 8 gpu of node-c, actor-1 holds 6 for 5 m 2 s and 'train' of job-2 1 for 10 s (2 leases); 1 is free`. */
export function describeHolders({ nodeId, lacks }: Nearest, { context, nodes }: HolderTables): string {
  const node = nodes.byId.get(nodeId)!;
  const name = mostLacking(lacks, node.row.total);
  const holders = new Map<string, Holder>();
  for (const lease of node.leases) {
    const amount = taken(lease)[name] ?? 0;
    if (amount === 0) continue;
    const key = holderOf(lease);
    const sinceMs = lease.runningSinceMs ?? lease.requestedAtMs;
    const known = holders.get(key);
    if (known === undefined) holders.set(key, { name: key, amount, leases: 1, sinceMs });
    else Object.assign(known, { amount: known.amount + amount, leases: known.leases + 1, sinceMs: Math.min(known.sinceMs, sinceMs) });
  }
  const format = (amount: number): string => (name === 'memory' ? formatSizeBytes(wholeAmount(name, amount)) : String(wholeAmount(name, amount)));
  const inOrder = [...holders.values()].sort((a, b) => b.amount - a.amount || a.sinceMs - b.sinceMs);
  const clauses = inOrder.slice(0, HOLDERS_SHOWN_MAX).map((holder, index) =>
    `${holder.name} ${index === 0 ? 'holds ' : ''}${format(holder.amount)} for ${formatDurationMs(context.nowMs - holder.sinceMs)}${holder.leases === 1 ? '' : ` (${holder.leases} leases)`}`);
  const others = inOrder.slice(HOLDERS_SHOWN_MAX);
  if (others.length > 0) clauses.push(`${others.length} more ${format(others.reduce((sum, { amount }) => sum + amount, 0))}`);
  const free = Math.max(0, nodes.availableOf(node)[name] ?? 0);
  const held = clauses.length === 0 ? 'nothing is held' : joinWords(clauses);
  return `of the ${format(node.row.total[name] ?? 0)} ${name} of ${nodeId}, ${held}; ${free === 0 ? 'none' : format(free)} is free`;
}

/** The resource of which the largest share of the node is lacking. */
function mostLacking(lacks: ResourceSet, total: ResourceSet): string {
  const share = (name: string): number => lacks[name]! / (total[name] ?? 1);
  return Object.keys(lacks).reduce((most, name) => (share(name) > share(most) ? name : most));
}

/** An actor, or the tasks of one kind and job. */
const holderOf = ({ demand: { actorId, name, demandId, jobId } }: Lease): string => (actorId !== '' ? actorId : `'${name || `demand ${demandId}`}' of ${jobId}`);

const joinWords = (words: readonly string[]): string => (words.length < 2 ? words.join() : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`);
