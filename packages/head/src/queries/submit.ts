/** Starts a program on the head's node as a job of its own. */
import { makeError } from '@muster/base';
import { JOB_SPEC_MAX_CHARS } from '../machine/limits.js';
import { readName } from '../machine/requests.js';
import type { QueryTables } from './queries.js';
import type { JobSpec } from './shapes.js';

/** Returns the id of the job. @throws MusterError INVALID_ARGUMENT, or UNSCHEDULABLE while the head has no node */
export function submitJob(json: string, { context, nodes, queues, jobs }: QueryTables): string {
  const spec = readSpec(json);
  const node = nodes.headNode;
  if (node === null) throw makeError('UNSCHEDULABLE', { what: 'the job', reasons: 'the node of the head is not up' });
  const { address, tokenFile } = context.settings;
  const queue = queues.admit(spec.queue, spec.priority);
  const job = jobs.create({ kind: 'submitted', name: readName(spec.name), entrypoint: readName(spec.argv.join(' ')), actorId: '', parentJobId: '', queue, priority: spec.priority }, (jobId) => ({
    nodeId: node.id,
    message: {
      jobId, argv: spec.argv, cwd: spec.cwd,
      env: { ...spec.env, MUSTER_ADDRESS: address, MUSTER_TOKEN_FILE: tokenFile, MUSTER_JOB_ID: jobId, MUSTER_QUEUE: queue.settings.name, MUSTER_PRIORITY: String(spec.priority) },
    },
  }));
  nodes.send(node, { type: 'startJobProcess', ...job.program!.message });
  context.log('info', 'job-submitted', { jobId: job.id, entrypoint: job.entrypoint });
  return job.id;
}

function readSpec(json: string): JobSpec {
  const invalid = (want: string): Error => makeError('INVALID_ARGUMENT', { what: 'the job to submit', want });
  if (json.length > JOB_SPEC_MAX_CHARS) throw invalid(`at most ${JOB_SPEC_MAX_CHARS} characters with its environment`);
  let spec: Partial<JobSpec> | null;
  try {
    spec = JSON.parse(json);
  } catch {
    spec = null;
  }
  const isText = (value: unknown): value is string => typeof value === 'string';
  const { argv, name = '', queue = '', priority = 0, cwd, env } = spec ?? {};
  if (!Array.isArray(argv) || argv.length === 0 || !argv.every(isText)) throw invalid('JSON with argv, an array of the program and its arguments');
  if (!isText(name)) throw invalid('JSON with name, a text');
  if (!isText(queue)) throw invalid('JSON with queue, a text');
  if (typeof priority !== 'number') throw invalid('JSON with priority, a number');
  if (!isText(cwd)) throw invalid('JSON with cwd, the folder to run in');
  if (typeof env !== 'object' || env === null || !Object.values(env).every(isText)) throw invalid('JSON with env, an object of texts');
  return { argv, name, queue, priority, cwd, env };
}
