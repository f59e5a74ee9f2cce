/** `cluster status`. */
import type { Command } from 'commander';
import { formatDurationMs, formatSizeBytes } from '@muster/base';
import type { Amounts, StatusAnswer } from '@muster/head';
import { withCluster } from '../cluster/connection.js';
import { formatAmount } from '../output/amounts.js';
import { formatFields, formatTable } from '../output/table.js';
import { printJson, printText, withClusterOptions, withExamples, type WithCluster } from './cluster-options.js';

export function define(command: Command): void {
  withClusterOptions(command).option('--json', 'print it as JSON').action(async (options: WithCluster<{ json?: boolean }>) => {
    const status = await withCluster(options, (connection) => connection.query<StatusAnswer>('status'));
    if (options.json) printJson(status);
    else printText(describe(status));
  });
  withExamples(command, 'cluster status', 'cluster status --address 10.0.0.5:6380 --token-file ./token --json');
}

function describe(status: StatusAnswer): string {
  const { nodes, jobs, objectStore, actors } = status;
  const some = (counts: readonly (readonly [count: number, name: string])[]): string =>
    counts.filter(([count], index) => count > 0 || index === 0).map(([count, name]) => `${count} ${name}`).join(', ');
  const fields = formatFields([
    ['cluster', `${status.clusterId} at ${status.address}, up ${formatDurationMs(status.uptimeMs)}`],
    ['nodes', some([[nodes.alive, 'alive'], [nodes.draining, 'draining'], [nodes.unreachable, 'unreachable'], [nodes.dead, 'dead']])],
    ['jobs', some([[jobs.running, 'running'], [jobs.finished, 'finished']])],
    ['processes', `${counted(status.drivers, 'driver')}, ${counted(status.workers, 'worker')}`],
    ['actors', Object.entries(actors).map(([state, count]) => `${count} ${state}`).join(', ') || 'none'],
    ['groups', Object.entries(status.groups).map(([state, count]) => `${count} ${state}`).join(', ') || 'none'],
    ['objects', `${objectStore.objects} in ${formatSizeBytes(objectStore.usedBytes)} of ${formatSizeBytes(objectStore.totalBytes)}${objectStore.spilledBytes > 0 ? `, ${formatSizeBytes(objectStore.spilledBytes)} on disk` : ''}`],
  ]);
  return [fields, '', describeResources(status), ...describeQueues(status), ...describeWaiting(status)].join('\n');
}

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

function describeResources({ total, available, reserved }: StatusAnswer): string {
  const names = Object.keys(total);
  if (names.length === 0) return 'No node offers any resource.';
  const used = (name: string): number => total[name]! - (available[name] ?? 0) - (reserved[name] ?? 0);
  return formatTable([
    { title: 'RESOURCE', value: (name) => name },
    { title: 'USED', value: (name) => formatAmount(name, used(name)), align: 'right' },
    { title: 'RESERVED', value: (name) => (reserved[name] ? formatAmount(name, reserved[name]) : ''), align: 'right' },
    { title: 'FREE', value: (name) => formatAmount(name, Math.max(0, available[name] ?? 0)), align: 'right' },
    { title: 'TOTAL', value: (name) => formatAmount(name, total[name]!), align: 'right' },
  ], names);
}

/** The default queue alone, without a quota, is nothing to look at. */
function describeQueues({ queues }: StatusAnswer): string[] {
  if (queues.length === 1 && Object.keys(queues[0]!.quota).length === 0) return [];
  const list = (amounts: Amounts): string => Object.entries(amounts).map(([name, amount]) => `${formatAmount(name, amount)} ${name}`).join(', ');
  return ['', formatTable([
    { title: 'QUEUE', value: (row) => row.name },
    { title: 'HOLDS', value: (row) => list(row.held), shrinksTo: 16 },
    { title: 'QUOTA', value: (row) => list(row.quota), shrinksTo: 12 },
    { title: 'SHARE', value: (row) => `${(100 * row.share).toFixed(0)}%${row.weight === 1 ? '' : ` (weight ${row.weight})`}`, align: 'right' },
    { title: 'JOBS', value: (row) => row.jobs, align: 'right' },
    { title: 'WAITING', value: (row) => row.waiting, align: 'right' },
  ], queues)];
}

function describeWaiting({ waiting, waitingMore }: StatusAnswer): string[] {
  if (waiting.length === 0) return [];
  const table = formatTable([
    { title: 'WAITING FOR', value: (row) => row.request, shrinksTo: 20 },
    { title: 'LEASES', value: (row) => (row.kind === 'group' ? '' : row.leases), align: 'right' },
    { title: 'GROUPS', value: (row) => (row.kind === 'group' ? row.demands : ''), align: 'right' },
    { title: 'FOR', value: (row) => formatDurationMs(row.waitingMs), align: 'right' },
    { title: 'WHY', value: (row) => `${row.isInfeasible ? 'never possible: ' : ''}${row.reasons}`, shrinksTo: 30 },
  ], waiting);
  return ['', table, ...(waitingMore.requests === 0 ? [] : [`… and ${counted(waitingMore.requests, 'more kind')} of requests, of ${waitingMore.demands} that wait`])];
}
