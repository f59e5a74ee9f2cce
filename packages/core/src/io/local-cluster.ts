/**
 * Clusters and nodes that live as long as this program. They hold the other end of a pipe: when this program ends, however it ends, the pipe
 * breaks and they end with all of their processes.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { makeError } from '@muster/base';
import type { InitOptions } from '../api/init.js';
import type { SessionTarget } from './session.js';

/** How long a node may take to start before it counts as failed. */
const START_TIMEOUT_MS = 30_000;

/** The exit code of `cluster` for a token that was refused. */
const EXIT_AUTHENTICATION = 4;

/** The line that `cluster start --ephemeral` prints when it is ready. */
interface ReadyLine {
  readonly headTarget: string;
  readonly daemonUnixPath: string;
  readonly tokenFile: string;
}

export interface OwnNode {
  readonly target: Omit<SessionTarget, 'jobId' | 'queue' | 'priority'>;
  /** Ends it; resolves when all of its processes are gone. */
  readonly stop: () => Promise<void>;
}

/** Starts a cluster for this program alone: unix sockets only. @throws MusterError INVALID_ARGUMENT for options that a node cannot have, else CONNECTION */
export function startLocalCluster(options: InitOptions): Promise<OwnNode> {
  const args = ['start', '--head', '--ephemeral'];
  if (options.cpus !== undefined) args.push(`--cpus=${options.cpus}`);
  if (options.gpus !== undefined) args.push(`--gpus=${options.gpus}`);
  if (options.memory !== undefined) args.push(`--memory=${options.memory}`);
  if (options.objectStore !== undefined) args.push(`--object-store=${options.objectStore}`);
  for (const [name, amount] of Object.entries(options.resources ?? {})) args.push(`--resources=${name}=${amount}`);
  for (const [name, value] of Object.entries(options.labels ?? {})) args.push(`--labels=${name}=${value}`);
  return startNode(args, {});
}

/** Starts a node without cpus that joins a cluster elsewhere, so that this program has an object store on its machine. */
export function startLocalNode(address: string, token: string): Promise<OwnNode> {
  return startNode(['start', '--address', address, '--cpus', '0', '--ephemeral'], { token });
}

async function startNode(args: readonly string[], secrets: { readonly token?: string }): Promise<OwnNode> {
  const program = createRequire(import.meta.url).resolve('@muster/cli/bin'); // import.meta.resolve is missing where tsx runs a program as CommonJS
  const child = spawn(process.execPath, [program, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = new Promise<string>((resolve) => child.once('exit', (code, signal) => resolve(signal ? `was ended by ${signal}` : `exited with code ${code}`)));
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => { complaints = (complaints + text).slice(-4000); });
  child.stdin.on('error', () => {}); // it may be gone already; its exit says so
  child.stdin.write(`${JSON.stringify(secrets)}\n`); // stays open: its end is the sign to stop
  const lines = createInterface({ input: child.stdout });
  const ready = new Promise<ReadyLine>((resolve) => lines.once('line', (line) => resolve(JSON.parse(line) as ReadyLine)));
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => { timer = setTimeout(() => resolve(`was not ready after ${START_TIMEOUT_MS / 1000} s`), START_TIMEOUT_MS); });
  const first = await Promise.race([ready, ended, late]);
  clearTimeout(timer);
  if (typeof first === 'string') {
    child.kill('SIGKILL');
    if (child.exitCode === EXIT_AUTHENTICATION) throw makeError('AUTHENTICATION', { what: 'the cluster', cause: 'the token is not this cluster\'s' });
    throw failureOf(complaints) ?? makeError('CONNECTION', { what: 'the cluster', cause: `its process ${first}${complaints ? `:\n${complaints.trim()}` : ''}` });
  }
  child.unref();
  for (const pipe of [child.stdin, child.stdout, child.stderr]) (pipe as unknown as { unref?: () => void }).unref?.();
  return {
    target: { headTarget: first.headTarget, daemonTarget: `unix:${first.daemonUnixPath}`, token: readFileSync(first.tokenFile, 'utf8').trim(), listenHost: null },
    stop: async () => {
      child.ref();
      child.stdin.end();
      await ended;
    },
  };
}

/** What `cluster` complained of, as the error that it was there; null when it died without its words. */
function failureOf(complaints: string): Error | null {
  const complaint = /^cluster: (.+)$/m.exec(complaints)?.[1];
  if (complaint === undefined) return null;
  const [, argument, want] = /^(.+) is not valid: it must be (.+)$/.exec(complaint) ?? [];
  if (argument !== undefined) return makeError('INVALID_ARGUMENT', { what: argument, want });
  const [, what = 'the cluster', cause = complaint] = /^cannot reach (.+?): (.+)$/.exec(complaint) ?? [];
  return makeError('CONNECTION', { what, cause });
}
