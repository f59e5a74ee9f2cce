/** `cluster bench collective`: the native benchmark, beside OpenMPI where it is, and what a call from JavaScript costs beyond it. */
import { fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { BenchRecord } from './measure.js';

const RANKS = 2;
/** The native record that the JavaScript one is compared with: see collective-rank.ts. */
const SMALL_CALL = 'allReduce f32 1 KiB, 2 ranks, muster';

export interface CollectiveBenchOptions {
  readonly report: (record: BenchRecord) => void;
  /** Called with what is left out, and why. */
  readonly note: (text: string) => void;
}

export async function runCollectiveBench({ report, note }: CollectiveBenchOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'muster-bench-'));
  let nativeUs: number | null = null;
  try {
    await runNative(folder, note, (record) => {
      if (record.name === SMALL_CALL) nativeUs = record.value;
      report(record);
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const javaScript = await measureJavaScript();
  report(javaScript);
  if (nativeUs !== null) report({ name: 'allReduce f32 1 KiB, 2 ranks, JavaScript over native', value: javaScript.value - nativeUs, unit: 'us', better: 'lower' });
}

/** Builds the C++ benchmark with plain CMake and runs it. */
async function runNative(folder: string, note: (text: string) => void, report: (record: BenchRecord) => void): Promise<void> {
  const sources = fileURLToPath(new URL('..', import.meta.resolve('@muster/native')));
  for (const args of [['-S', sources, '-B', folder], ['--build', folder, '--target', 'collective-bench', 'network-bench', '--parallel', '2']]) {
    const { status, stderr, error } = spawnSync('cmake', args, { encoding: 'utf8' });
    if (status !== 0) return note(`The native benchmark is left out, since it could not be built: ${error?.message ?? stderr.trim()}`);
  }
  const program = join(folder, 'collective-bench');
  const knowsMpi = spawnSync(program, ['--knows-mpi']).status === 0 && spawnSync('mpirun', ['--version']).status === 0;
  if (!knowsMpi) note('OpenMPI is left out, since it is not installed: `apt-get install libopenmpi-dev openmpi-bin` on Debian and Ubuntu.');
  await runRanks(program, knowsMpi, [], report);
  // As on several nodes: every rank says that it is alone on its own.
  await runRanks(join(folder, 'network-bench'), knowsMpi, ['--mca', 'btl', 'tcp,self', '--mca', 'btl_tcp_if_include', 'lo'], report);
}

/** Under mpirun, where that is; or the program starts its ranks. */
async function runRanks(program: string, knowsMpi: boolean, mpiOptions: readonly string[], report: (record: BenchRecord) => void): Promise<void> {
  const [command, args] = knowsMpi ? ['mpirun', ['--bind-to', 'none', ...mpiOptions, '-n', String(RANKS), program]] as const : [program, [String(RANKS)]] as const;
  const asRoot = { OMPI_ALLOW_RUN_AS_ROOT: '1', OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1' }; // as in a container
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...asRoot } });
  const ended = once(child, 'close');
  for await (const line of createInterface({ input: child.stdout })) report(JSON.parse(line) as BenchRecord);
  const [code] = await ended;
  if (code !== 0) throw new Error(`${command} exited with code ${String(code)}`);
}

async function measureJavaScript(): Promise<BenchRecord> {
  const id = `bench-js-${process.pid}`;
  const ranks = Array.from({ length: RANKS }, (_, rank) => fork(new URL('collective-rank.js', import.meta.url), [id, String(rank), String(RANKS)]));
  const [[record], ...codes] = await Promise.all([once(ranks[0]!, 'message') as Promise<[BenchRecord]>, ...ranks.map((rank) => once(rank, 'exit'))]);
  const failed = codes.find(([code]) => code !== 0);
  if (failed) throw new Error(`a rank of the benchmark exited with code ${String(failed[0])}`);
  return record;
}
