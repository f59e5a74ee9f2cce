/** `cluster logs`. */
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { findCluster, withCluster, type ClusterConnection, type ClusterOptions } from '../cluster/connection.js';
import { findJob } from '../jobs/follow-job.js';
import { FileOutput, QueriedOutput, type OutputSource } from '../jobs/output-source.js';
import { nodeLogFile } from '../node/node-log.js';
import { printNote, withClusterOptions, withExamples, type WithCluster } from './cluster-options.js';

const LOOK_AGAIN_MS = 200;

export function define(command: Command): void {
  withClusterOptions(command).argument('[ID]', 'of a worker, an actor or a job (default: the nodes on this machine)')
    .option('--follow', 'go on with what comes, until Ctrl-C or the end of the job')
    .action((id: string | undefined, options: WithCluster<{ follow?: boolean }>) =>
      (id === undefined ? showNodeLogs(options, options.follow ?? false) : withCluster(options, (connection) => showLogs(connection, id, options.follow ?? false))));
  withExamples(command, 'cluster logs job-3f9a1c0b7d24', 'cluster logs worker-5be10c77a3f2 --follow', 'cluster logs');
}

async function showLogs(connection: ClusterConnection, id: string, follow: boolean): Promise<void> {
  const source = new QueriedOutput(connection, id, { only: null, fromTail: true });
  if (!follow) {
    process.stdout.write(await source.read());
    if (source.missing.length > 0) printNote(`missing is what was printed on ${source.missing.join(', ')}: not connected, or slow to answer`);
    return;
  }
  const isOver = async (): Promise<boolean> => id.startsWith('job-') && (await findJob(connection, id)).state !== 'running';
  for (let wasOver = false; !wasOver;) {
    wasOver = await isOver(); // asked before the output, so that the last of it is shown
    for (let output = await source.read(); output !== ''; output = wasOver ? await source.read() : '') process.stdout.write(output);
    if (!wasOver) await sleep(LOOK_AGAIN_MS);
  }
}

/** The nodes' own logs. */
async function showNodeLogs(options: ClusterOptions, follow: boolean): Promise<void> {
  const { nodes } = await findCluster(options);
  const logs = nodes.map((node): { nodeId: string; source: OutputSource } => ({ nodeId: node.nodeId, source: new FileOutput(nodeLogFile(dirname(node.daemonUnixPath))) }));
  let last = logs.length === 1 ? logs[0]!.nodeId : '';
  do {
    for (const { nodeId, source } of logs) {
      for (let output = await source.read(); output.length > 0; output = await source.read()) {
        if (nodeId !== last) process.stdout.write(`==> ${nodeId} <==\n`);
        last = nodeId;
        process.stdout.write(output);
      }
    }
    if (follow) await sleep(LOOK_AGAIN_MS);
  } while (follow);
}
