/** The C++ benchmarks of native/bench: built with plain CMake, and run for their records. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { BenchRecord } from './measure.js';

const PEERS = fileURLToPath(new URL('../../../../bench/peers/', import.meta.url));

/** Where the records of a benchmark go. */
export interface NativeBenchOptions {
  readonly report: (record: BenchRecord) => void;
  /** Called with what is left out, and why. */
  readonly note: (text: string) => void;
}

/** Builds these targets into a folder of their own and hands it to `run`, or notes why they cannot be built. */
export async function withNativeBenches(targets: readonly string[], note: (text: string) => void, run: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-bench-'));
  const sources = fileURLToPath(new URL('..', import.meta.resolve('@muster/native')));
  try {
    for (const args of [['-S', sources, '-B', folder], ['--build', folder, '--parallel', '2', '--target', ...targets]]) {
      const { status, stderr, error } = spawnSync('cmake', args, { encoding: 'utf8' });
      if (status === 0) continue;
      return note(`The native benchmarks are left out, since they could not be built: ${error?.message ?? stderr.trim()}`);
    }
    await run(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs a program that prints a record a line. */
export async function runNativeBench(command: string, args: readonly string[], report: (record: BenchRecord) => void): Promise<void> {
  const asRoot = { OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' }; // as in a container
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...asRoot } });
  const ended = once(child, 'close');
  for await (const line of createInterface({ input: child.stdout })) report(JSON.parse(line) as BenchRecord);
  const [code, signal] = await ended;
  if (code !== 0) throw new Error(`${command} ended with ${String(code ?? signal)}`);
}

/** A program of bench/peers and the Python that runs it. */
export interface PythonProgram {
  readonly python: string;
  readonly script: string;
}

/** Null, with a note, where Python is missing. */
export function pythonProgram(script: string, what: string, note: (text: string) => void): PythonProgram | null {
  const python = process.env['MUSTER_BENCH_PYTHON'] ?? join(PEERS, '.venv/bin/python');
  if (existsSync(python)) return { python, script: join(PEERS, script) };
  note(`${what} is left out, since it is not installed: run \`node bench/peers/setup.mjs\`.`);
  return null;
}

/** The arguments that add it to a native benchmark: none where it is missing. */
export function pythonPeer(script: string, what: string, note: (text: string) => void): readonly string[] {
  const program = pythonProgram(script, what, note);
  return program === null ? [] : ['--peer', `'${program.python}' -W ignore '${program.script}'`];
}
