/** `cluster stop`: ends nodes on this machine, or one job, and waits until they are gone. */
import type { Command } from 'commander';
import { isRunning, localNodes, musterHome, sweepDeadDrivers, type NodeFile } from '@muster/base';
import { withCluster } from '../cluster/connection.js';
import { byCluster, isOneProgramsOwn } from '../cluster/local-nodes.js';
import { CommandFailure, EXIT } from '../output/failure.js';
import { printText, withExamples } from './cluster-options.js';
import { stopJob } from './stop-job.js';

/** Longer than a head waits for the nodes of its cluster. */
const STOP_TIMEOUT_MS = 15_000;
const KILL_TIMEOUT_MS = 2000;
const LOOK_AGAIN_MS = 25;

export function define(command: Command): void {
  command.argument('[ID]', 'only this node, by its id or how the id begins, or this job of the cluster')
    .option('--all', 'the nodes of all clusters on this machine, those of running programs too')
    .action((id: string | undefined, options: { readonly all?: boolean }) => (id?.startsWith('job-') ? withCluster({}, (connection) => stopJob(connection, id)) : stop(id, options.all ?? false)));
  withExamples(command, 'cluster stop', 'cluster stop node-3f9a', 'cluster stop job-3f9a1c0b7d24', 'cluster stop --all');
}

async function stop(name: string | undefined, all: boolean): Promise<void> {
  const nodes = await localNodes();
  const chosen = choose(nodes, name, all);
  if (chosen.length === 0) printText(nodes.length === 0 ? 'no node runs on this machine' : 'only programs\' own clusters run on this machine; they end with their programs, or with --all');
  await Promise.all(chosen.map(async (node) => {
    const how = await end(node);
    printText(`${how} ${node.nodeId} (${node.isHead ? 'head' : 'node'} of the cluster at ${node.headAddress})`);
  }));
  const { sweepDeadNodes } = await import('@muster/daemon');
  sweepDeadNodes(musterHome());
  await sweepDeadDrivers(musterHome());
}

function choose(nodes: readonly NodeFile[], name: string | undefined, all: boolean): readonly NodeFile[] {
  if (name !== undefined) {
    const named = nodes.filter((node) => node.nodeId.startsWith(name));
    if (named.length === 1) return named;
    const what = named.length === 0 ? `no node '${name}' runs on this machine` : `${named.length} nodes begin with '${name}'`;
    throw new CommandFailure({ what, remedy: nodes.length === 0 ? 'None does.' : `These do: ${nodes.map((node) => node.nodeId).join(', ')}.` });
  }
  if (all) return nodes;
  const shared = byCluster(nodes.filter((node) => !isOneProgramsOwn(node)));
  if (shared.size <= 1) return [...shared.values()].flat();
  throw new CommandFailure({
    what: `nodes of ${shared.size} clusters run on this machine: ${[...shared.keys()].join(', ')}`, remedy: 'Name a node, or stop them all with --all.', exitCode: EXIT.usage,
  });
}

/** Asks the node to end, and makes it after a while. */
async function end(node: NodeFile): Promise<'stopped' | 'killed'> {
  if (await signal(node, 'SIGTERM', STOP_TIMEOUT_MS)) return 'stopped';
  if (await signal(node, 'SIGKILL', KILL_TIMEOUT_MS)) return 'killed';
  throw new CommandFailure({ what: `process ${node.pid} of ${node.nodeId} does not end`, remedy: 'Look at it with `ps`; the system holds it.' });
}

/** Returns whether the process is gone in time. */
async function signal(node: NodeFile, name: NodeJS.Signals, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  try {
    process.kill(node.pid, name);
  } catch {
    return true; // it has ended by itself
  }
  while (isRunning(node.pid)) {
    if (performance.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
  return true;
}
