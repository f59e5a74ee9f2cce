/** `cluster stop-job`. */
import type { Command } from 'commander';
import type { StopJobAnswer } from '@muster/head';
import { withCluster, type ClusterConnection, type ClusterOptions } from '../cluster/connection.js';
import { followJob } from '../jobs/follow-job.js';
import { printText, withClusterOptions, withExamples } from './cluster-options.js';

export function define(command: Command): void {
  withClusterOptions(command).argument('<JOB>', 'its id, as `cluster list jobs` shows it')
    .action((jobId: string, options: ClusterOptions) => withCluster(options, (connection) => stopJob(connection, jobId)));
  withExamples(command, 'cluster stop-job job-3f9a1c0b7d24');
}

/** Stops a job and resolves when it is over. */
export async function stopJob(connection: ClusterConnection, jobId: string): Promise<void> {
  const { state } = await connection.query<StopJobAnswer>('stop-job', { id: jobId });
  if (state !== 'running') return printText(`${jobId} is over already: ${state}`);
  const job = await followJob(connection, jobId, { onOutput: null });
  printText(`${jobId} ${job.state}`);
}
