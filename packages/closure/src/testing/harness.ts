/** Runs the cases of a main script: each function in this process and, captured, in another one. Both have to give the same. */
import { inspect } from 'node:util';
import { MusterError } from '@muster/base';
import { capture } from '../index.js';
import { WorkerProcess } from './worker-process.js';

interface CaseOptions {
  readonly parameters?: readonly unknown[];
  /** What the worker gives, where calling the function here would spoil later cases. */
  readonly expect?: string;
  /** A part of the message of the refusal. */
  readonly error?: string;
  readonly path?: string;
}

type Case = readonly [name: string, make: () => unknown, options?: CaseOptions];

/** Runs the cases and prints one line of JSON for each: `{ name, problem? }`. */
export async function runCases(cases: readonly Case[]): Promise<void> {
  if ('isWorker' in globalThis) throw new Error('the main script ran in a worker');
  const worker = await WorkerProcess.start();
  for (const [name, make, options = {}] of cases) {
    const problem = await findProblem(worker, make, options).catch((error: unknown) => (error instanceof Error ? error.stack : String(error)));
    console.log(JSON.stringify({ name, problem }));
  }
  await worker.stop();
  console.log(JSON.stringify({ name: 'nothing is printed to stderr', problem: worker.stderr || undefined }));
}

async function findProblem(worker: WorkerProcess, make: Case[1], { parameters = [], expect, error, path }: CaseOptions): Promise<string | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = capture(await make());
  } catch (refusal) {
    if (error === undefined || !(refusal instanceof MusterError) || refusal.code !== 'CAPTURE') throw refusal;
    if (!refusal.message.includes(error)) return `expected a refusal with '${error}': ${refusal.message}`;
    return path === undefined || refusal.details['path'] === path ? undefined : `expected the path '${path}', not '${refusal.details['path']}'`;
  }
  if (error !== undefined) return `expected a refusal with '${error}'`;
  const { text, message } = await worker.ask({ bytes, parameters: parameters.map((parameter) => capture(parameter)) });
  if (message !== undefined) return message;
  const wanted = expect ?? inspect(await (await make() as (...parameters: readonly unknown[]) => unknown)(...parameters), { depth: 9, breakLength: Infinity });
  return text === wanted ? undefined : `here:  ${wanted}\nthere: ${text}`;
}
