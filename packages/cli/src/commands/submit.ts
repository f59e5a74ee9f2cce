/** `cluster submit`: runs a program on the head's machine as a job, and follows it. */
import { makeError } from '@muster/base';
import type { Command } from 'commander';
import type { JobRow, JobSpec, SubmitAnswer } from '@muster/head';
import { withCluster, type ClusterConnection } from '../cluster/connection.js';
import { followJob } from '../jobs/follow-job.js';
import { makeJobSpec } from '../jobs/job-spec.js';
import { asUsage, EXIT } from '../output/failure.js';
import { printNote, printText, withClusterOptions, withExamples, type WithCluster } from './cluster-options.js';

interface SubmitOptions {
  readonly name?: string;
  readonly queue?: string;
  readonly priority?: string;
  readonly detach?: boolean;
}

export function define(command: Command): void {
  withClusterOptions(command).argument('<COMMAND...>', 'the program and its arguments, after --').passThroughOptions()
    .option('--name <TEXT>', 'what to call the job in lists')
    .option('--queue <NAME>', 'the queue of its tasks and actors (default: the cluster\'s default queue)')
    .option('--priority <N>', 'those of higher priority go first, and may preempt lower ones (default 0)')
    .option('--detach', 'print the job\'s id and leave it running')
    .action((argv: string[], options: WithCluster<SubmitOptions>) => {
      const spec = asUsage('submit', () => readSpec(argv, options));
      return withCluster(options, (connection) => submit(connection, spec, options));
    });
  command.addHelpText('after', '\nThe program runs in this folder, on the head\'s machine, with the environment of its node. Its exit\ncode becomes this command\'s. Ctrl-C stops it.');
  withExamples(command, 'cluster submit -- node app.ts --epochs 3', 'cluster submit --queue research --priority 10 -- node train.js', 'cluster submit --name nightly --detach -- env LEVEL=2 node app.js');
}

/** @throws MusterError INVALID_ARGUMENT */
function readSpec(argv: readonly string[], { name = '', queue = '', priority = '0' }: SubmitOptions): JobSpec {
  if (!/^-?\d+$/.test(priority)) throw makeError('INVALID_ARGUMENT', { what: `--priority ${priority}`, want: 'a whole number' });
  return makeJobSpec(argv, { name, queue, priority: Number(priority) });
}

async function submit(connection: ClusterConnection, spec: JobSpec, { detach = false }: SubmitOptions): Promise<void> {
  const { jobId } = await connection.query<SubmitAnswer>('submit', {}, JSON.stringify(spec));
  if (detach) return printText(jobId);
  printNote(`${jobId}: ${spec.argv.join(' ')}`);
  let isInterrupted = false;
  const interrupt = (): void => {
    if (isInterrupted) process.exit(EXIT.interrupted);
    isInterrupted = true;
    printNote(`stopping ${jobId}; once more leaves it to itself`);
    void connection.query('stop-job', { id: jobId }).catch(() => {}); // following it will tell
  };
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  const job = await followJob(connection, jobId, { onOutput: (output) => process.stdout.write(output) });
  if (job.state !== 'succeeded') printNote(`${jobId} ${job.state}${job.cause ? `: it ${withoutLastWords(job.cause)}` : ''}`);
  process.exitCode = isInterrupted ? EXIT.interrupted : exitCodeOf(job);
}

/** A cause ends with the last lines of stderr, which have just been printed. */
const withoutLastWords = (cause: string): string => cause.split('\n', 1)[0]!.replace(/; its last lines of stderr:$/, '');

function exitCodeOf(job: JobRow): number {
  return job.exitCode ?? (job.state === 'succeeded' ? EXIT.success : EXIT.failure);
}
