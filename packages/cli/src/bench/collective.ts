/** `cluster bench collective`: the native benchmark, beside OpenMPI and Gloo where they are, and what a call from JavaScript costs beyond it. */
import { fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { BenchRecord } from './measure.js';
import { pythonPeer, runNativeBench, withNativeBenches, type NativeBenchOptions } from './native-program.js';

const RANKS = 2;
/** The native record that the JavaScript one is compared with: see collective-rank.ts. */
const SMALL_CALL = 'allReduce f32 1 KiB, 2 ranks, muster';

export async function runCollectiveBench({ report, note }: NativeBenchOptions): Promise<void> {
  let nativeUs: number | null = null;
  await withNativeBenches(['collective-bench', 'network-bench'], note, (folder) => runNative(folder, note, (record) => {
    if (record.name === SMALL_CALL) nativeUs = record.value;
    report(record);
  }));
  const javaScript = await measureJavaScript();
  report(javaScript);
  if (nativeUs !== null) report({ name: 'allReduce f32 1 KiB, 2 ranks, JavaScript over native', value: javaScript.value - nativeUs, unit: 'us', better: 'lower' });
}

/** Under mpirun where that is; else the programs start their ranks. */
async function runNative(folder: string, note: (text: string) => void, report: (record: BenchRecord) => void): Promise<void> {
  const program = join(folder, 'collective-bench');
  const knowsMpi = spawnSync(program, ['--knows-mpi']).status === 0 && spawnSync('mpirun', ['--version']).status === 0;
  if (!knowsMpi) note('OpenMPI is left out, since it is not installed: `apt-get install libopenmpi-dev openmpi-bin` on Debian and Ubuntu.');
  const run = (ranksProgram: string, mpiOptions: readonly string[], args: readonly string[]): Promise<void> => knowsMpi
    ? runNativeBench('mpirun', ['--bind-to', 'none', ...mpiOptions, '-n', String(RANKS), ranksProgram, '--json', ...args], report)
    : runNativeBench(ranksProgram, ['--ranks', String(RANKS), '--json', ...args], report);
  await run(program, [], pythonPeer('gloo-allreduce.py', 'Gloo', note));
  // As on several nodes: every rank says that it is alone on its own, and MPI may use no shared memory.
  await run(join(folder, 'network-bench'), ['--mca', 'btl', 'tcp,self', '--mca', 'btl_tcp_if_include', 'lo'], []);
}

async function measureJavaScript(): Promise<BenchRecord> {
  const id = `bench-js-${process.pid}`;
  const ranks = Array.from({ length: RANKS }, (_, rank) => fork(new URL('collective-rank.js', import.meta.url), [id, String(rank), String(RANKS)]));
  const [[record], ...codes] = await Promise.all([once(ranks[0]!, 'message') as Promise<[BenchRecord]>, ...ranks.map((rank) => once(rank, 'exit'))]);
  const failed = codes.find(([code]) => code !== 0);
  if (failed) throw new Error(`a rank of the benchmark exited with code ${String(failed[0])}`);
  return record;
}
