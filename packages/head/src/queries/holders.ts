/** Who holds what a demand waits for: on the node that comes closest, those with the most of what is lacking there. */
import { formatDurationMs, formatSizeBytes, wholeAmount, type ResourceSet } from '@muster/base';
import type { Nearest } from '@muster/scheduler';
import type { HeadContext } from '../machine/context.js';
import { endsAtMs, taken, type Lease } from '../machine/leases.js';
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
  /** When all of it is expected back; Infinity: nobody knows. */
  endsAtMs: number;
}

/** The tables in which holders are found. */
export interface HolderTables {
  readonly context: HeadContext;
  readonly nodes: Nodes;
}

/** `of the 8 gpu of node-c, actor-1 holds 6 for 5 m 2 s and 'train' of job-2 1 for 10 s, back in about 4 s; 1 is free`. */
export function describeHolders({ nodeId: row, lacks }: Nearest, pool: Pool, tables: HolderTables): string {
  const { total, available } = pool.cluster.view(pool.cluster.rowOf(row)!);
  const name = mostLacking(lacks, total);
  const format = (amount: number): string => (name === 'memory' ? formatSizeBytes(wholeAmount(name, amount)) : String(wholeAmount(name, amount)));
  const holders = [...holdersOf(row, name, pool, tables)].sort((a, b) => b.amount - a.amount || a.sinceMs - b.sinceMs);
  const clauses = holders.slice(0, HOLDERS_SHOWN_MAX).map((holder, index) =>
    `${holder.name} ${index === 0 ? 'holds ' : ''}${format(holder.amount)}${describeTimes(holder, tables.context.nowMs)}`);
  const others = holders.slice(HOLDERS_SHOWN_MAX);
  if (others.length > 0) clauses.push(`${others.length} more ${format(others.reduce((sum, { amount }) => sum + amount, 0))}`);
  const free = Math.max(0, available[name] ?? 0);
  const held = clauses.length === 0 ? 'nothing is held' : joinWords(clauses);
  return `of the ${format(total[name] ?? 0)} ${name} of ${row}, ${held}; ${free === 0 ? 'none' : format(free)} is free`;
}

/** Who has something of a resource of the row: leases, and of a node also placement groups. */
function holdersOf(row: string, name: string, pool: Pool, { context: { nowMs }, nodes }: HolderTables): Iterable<Holder> {
  const holders = new Map<string, Holder>();
  const add = (holder: Holder): void => {
    const known = holders.get(holder.name);
    if (holder.amount === 0) return;
    if (known === undefined) holders.set(holder.name, holder);
    else {
      known.amount += holder.amount;
      known.leases += holder.leases;
      known.sinceMs = Math.min(known.sinceMs, holder.sinceMs);
      known.endsAtMs = Math.max(known.endsAtMs, holder.endsAtMs);
    }
  };
  const node = nodes.byId.get(row);
  for (const lease of node?.leases ?? pool.leases) {
    if (lease.place.row !== row) continue; // it is in a placement group, or in another of its bundles
    add({ name: holderOf(lease), amount: taken(lease)[name] ?? 0, leases: 1, sinceMs: lease.runningSinceMs ?? lease.requestedAtMs, endsAtMs: endsAtMs(lease, nowMs) });
  }
  for (const { group, holdings } of node?.shares.values() ?? []) {
    for (const { resources } of holdings.values()) add({ name: group.id, amount: resources[name] ?? 0, leases: 0, sinceMs: group.createdAtMs, endsAtMs: endsAtMs(group, nowMs) });
  }
  return holders.values();
}

/** ` for 5 m (2 leases), back in about 4 s`: the last part only where users have said how long it takes. */
function describeTimes({ leases, sinceMs, endsAtMs: untilMs }: Holder, nowMs: number): string {
  const count = leases < 2 ? '' : ` (${leases} leases)`;
  const end = untilMs === Infinity ? '' : untilMs > nowMs ? `, back in about ${formatDurationMs(untilMs - nowMs)}` : `, overdue by ${formatDurationMs(nowMs - untilMs)}`;
  return ` for ${formatDurationMs(nowMs - sinceMs)}${count}${end}`;
}

/** The resource of which the largest share of the node is lacking. */
function mostLacking(lacks: ResourceSet, total: ResourceSet): string {
  const share = (name: string): number => lacks[name]! / (total[name] ?? 1);
  return Object.keys(lacks).reduce((most, name) => (share(name) > share(most) ? name : most));
}

/** An actor, or the tasks of one kind and job. */
const holderOf = ({ demand: { actorId, name, demandId, jobId } }: Lease): string => (actorId !== '' ? actorId : `'${name || `demand ${demandId}`}' of ${jobId}`);

const joinWords = (words: readonly string[]): string => (words.length < 2 ? words.join() : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`);
