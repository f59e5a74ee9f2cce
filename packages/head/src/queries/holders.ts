/** Who holds what a demand waits for: on the node that comes closest, those with the most of what is lacking there. */
import { formatDurationMs, formatSizeBytes, wholeAmount, type ResourceSet } from '@muster/base';
import type { Nearest } from '@muster/scheduler';
import type { HeadContext } from '../machine/context.js';
import type { Groups } from '../machine/groups.js';
import { taken, type Lease } from '../machine/leases.js';
import type { Nodes } from '../machine/nodes.js';
import type { Pool } from '../machine/pool.js';

/** Nobody asks more than this many to make room. */
const HOLDERS_SHOWN_MAX = 3;

interface Holder {
  readonly name: string;
  amount: number;
  /** 0 for a placement group. */
  leases: number;
  sinceMs: number;
}

/** The tables in which holders are found. */
export interface HolderTables {
  readonly context: HeadContext;
  readonly nodes: Nodes;
  readonly groups: Groups;
}

/** `of the 8 gpu of node-c, actor-1 holds 6 for 5 m 2 s and 'train' of job-2 1 for 10 s (2 leases); 1 is free`. */
export function describeHolders({ nodeId: row, lacks }: Nearest, pool: Pool, tables: HolderTables): string {
  const { total, available } = pool.cluster.view(pool.cluster.rowOf(row)!);
  const name = mostLacking(lacks, total);
  const format = (amount: number): string => (name === 'memory' ? formatSizeBytes(wholeAmount(name, amount)) : String(wholeAmount(name, amount)));
  const holders = [...holdersOf(row, name, pool, tables)].sort((a, b) => b.amount - a.amount || a.sinceMs - b.sinceMs);
  const clauses = holders.slice(0, HOLDERS_SHOWN_MAX).map((holder, index) =>
    `${holder.name} ${index === 0 ? 'holds ' : ''}${format(holder.amount)} for ${formatDurationMs(tables.context.nowMs - holder.sinceMs)}${holder.leases < 2 ? '' : ` (${holder.leases} leases)`}`);
  const others = holders.slice(HOLDERS_SHOWN_MAX);
  if (others.length > 0) clauses.push(`${others.length} more ${format(others.reduce((sum, { amount }) => sum + amount, 0))}`);
  const free = Math.max(0, available[name] ?? 0);
  const held = clauses.length === 0 ? 'nothing is held' : joinWords(clauses);
  return `of the ${format(total[name] ?? 0)} ${name} of ${row}, ${held}; ${free === 0 ? 'none' : format(free)} is free`;
}

/** Who has something of a resource of the row: leases, and of a node also placement groups. */
function holdersOf(row: string, name: string, pool: Pool, { nodes, groups }: HolderTables): Iterable<Holder> {
  const holders = new Map<string, Holder>();
  const add = (who: string, amount: number, leases: number, sinceMs: number): void => {
    if (amount === 0) return;
    const known = holders.get(who);
    if (known === undefined) holders.set(who, { name: who, amount, leases, sinceMs });
    else Object.assign(known, { amount: known.amount + amount, leases: known.leases + leases, sinceMs: Math.min(known.sinceMs, sinceMs) });
  };
  const group = groups.live.get(pool.groupId);
  const node = nodes.byId.get(row) ?? group?.bundles.find((bundle, index) => bundle !== null && pool.cluster.rowOf(row)?.row === index)?.share.node;
  for (const lease of node?.leases ?? []) {
    const isHere = lease.place.row === row && (lease.place.bundle?.groupId ?? '') === pool.groupId;
    if (isHere) add(holderOf(lease), taken(lease)[name] ?? 0, 1, lease.runningSinceMs ?? lease.requestedAtMs);
  }
  if (pool.groupId === '') {
    for (const { group: { id, createdAtMs }, holdings } of node?.shares.values() ?? []) {
      for (const { resources } of holdings.values()) add(id, resources[name] ?? 0, 0, createdAtMs);
    }
  }
  return holders.values();
}

/** The resource of which the largest share of the node is lacking. */
function mostLacking(lacks: ResourceSet, total: ResourceSet): string {
  const share = (name: string): number => lacks[name]! / (total[name] ?? 1);
  return Object.keys(lacks).reduce((most, name) => (share(name) > share(most) ? name : most));
}

/** An actor, or the tasks of one kind and job. */
const holderOf = ({ demand: { actorId, name, demandId, jobId } }: Lease): string => (actorId !== '' ? actorId : `'${name || `demand ${demandId}`}' of ${jobId}`);

const joinWords = (words: readonly string[]): string => (words.length < 2 ? words.join() : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`);
