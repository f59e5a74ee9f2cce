/** Starts a node as a process of its own that stays when this one ends, and waits until it is ready. */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, fstatSync, mkdirSync, openSync, readSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { musterHome, newId, systemRandom, type NodeId } from '@muster/base';
import { CommandFailure, EXIT } from '../output/failure.js';
import type { FailedStart } from './node-process.js';
import { nodeLogFile } from './node-log.js';
import type { NodeSecrets, ReadyNode } from './run-node.js';

const START_TIMEOUT_MS = 30_000;
/** Of the last words of a process that died. */
const LAST_WORDS_MAX_BYTES = 2000;

/** A node that runs in a process of its own. */
export interface BackgroundNode extends ReadyNode {
  readonly pid: number;
}

/** @param args the command line's, after `start` @throws CommandFailure */
export async function startInBackground(args: readonly string[], token: string | undefined): Promise<BackgroundNode> {
  const interruption = new AbortController();
  const interrupt = (): void => interruption.abort();
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const nodeId = newId('node', systemRandom);
  const folder = join(musterHome(), nodeId);
  const logFile = nodeLogFile(folder);
  mkdirSync(dirname(logFile), { recursive: true, mode: 0o700 });
  const log = openSync(logFile, 'a+', 0o600);
  try {
    return await startProcess(args, { token, nodeId }, log, interruption.signal);
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  } finally {
    closeSync(log);
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

async function startProcess(args: readonly string[], secrets: NodeSecrets & { readonly nodeId: NodeId }, log: number, interruption: AbortSignal): Promise<BackgroundNode> {
  const program = fileURLToPath(new URL('../../bin/cluster.mjs', import.meta.url));
  const child = spawn(process.execPath, [program, 'start', ...args, '--background'], { detached: true, stdio: ['pipe', 'pipe', log], signal: interruption, killSignal: 'SIGKILL' });
  child.on('error', () => {}); // it tells of an interruption, as does the signal
  child.stdin!.on('error', () => {}).end(`${JSON.stringify(secrets)}\n`);
  const line = await firstLine(child);
  if (interruption.aborted) throw new CommandFailure({ what: 'interrupted before the node was ready', remedy: 'Nothing has been started.', exitCode: EXIT.interrupted });
  if (line === null) throw new CommandFailure({ what: `the node did not start: ${lastWords(log) || 'its process ended without a word'}`, remedy: 'Run it with --foreground to watch it.' });
  const answer = JSON.parse(line) as ReadyNode | FailedStart;
  if ('failure' in answer) throw new CommandFailure(answer.failure);
  child.unref();
  child.stdout!.destroy();
  return { ...answer, pid: child.pid! };
}

/** What the process has to say; null when it ends, or takes too long and is ended, without a word. */
async function firstLine(child: ChildProcess): Promise<string | null> {
  const late = setTimeout(() => child.kill('SIGKILL'), START_TIMEOUT_MS);
  try {
    for await (const line of createInterface({ input: child.stdout! })) return line;
    return null;
  } finally {
    clearTimeout(late);
  }
}

function lastWords(log: number): string {
  const { size } = fstatSync(log);
  const bytes = Buffer.alloc(Math.min(size, LAST_WORDS_MAX_BYTES));
  readSync(log, bytes, 0, bytes.length, size - bytes.length);
  return bytes.toString('utf8').trim();
}
