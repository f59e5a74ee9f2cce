/** Follows a job to its end. */
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeError } from '@muster/base';
import type { JobRow, ListAnswer } from '@muster/head';
import type { ClusterConnection } from '../cluster/connection.js';
import { FileOutput, QueriedOutput, type OutputSource } from './output-source.js';

/** Soon enough to look immediate, and no load for the head. */
const LOOK_AGAIN_MS = 100;

export interface FollowOptions {
  /** Gets what the job's program prints, in order; null: nobody wants it. */
  readonly onOutput: ((output: Uint8Array | string) => void) | null;
}

/** Resolves with the job's last state when it is over and all of its output has been handed on. */
export async function followJob(connection: ClusterConnection, jobId: string, { onOutput }: FollowOptions): Promise<JobRow> {
  const source = onOutput && outputOf(connection, jobId);
  /** Returns whether there was any. */
  const pump = async (): Promise<boolean> => {
    const output = await source?.read();
    if (!output?.length) return false;
    onOutput!(output);
    return true;
  };
  try {
    for (;;) {
      const job = await findJob(connection, jobId);
      if (job.state !== 'running') {
        while (await pump());
        await sleep(LOOK_AGAIN_MS); // the last lines may still be on their way to the file
        while (await pump());
        return job;
      }
      if (!await pump()) await sleep(LOOK_AGAIN_MS);
    }
  } finally {
    source?.close();
  }
}

export async function findJob(connection: ClusterConnection, jobId: string): Promise<JobRow> {
  const { rows } = await connection.query<ListAnswer>('list', { kind: 'jobs', filter: `jobId=${jobId}` });
  if (rows.length === 0) throw makeError('INVALID_ARGUMENT', { what: `the job id '${jobId}'`, want: 'one that `cluster list jobs` shows' });
  return rows[0] as JobRow;
}

/** Programs run on the head's node, whose files are at hand when that is on this machine. */
function outputOf(connection: ClusterConnection, jobId: string): OutputSource {
  const headNode = connection.cluster.nodes.find((node) => node.isHead);
  if (headNode) return new FileOutput(join(dirname(headNode.daemonUnixPath), 'logs', `${jobId}.log`));
  return new QueriedOutput(connection, jobId, { only: jobId, fromTail: false });
}
