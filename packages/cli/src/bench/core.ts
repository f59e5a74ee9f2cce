/** `cluster bench core`: Ray's microbenchmarks under Ray's names, and Muster's own. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { init, shutdown } from '@muster/core';
import { actorBenchmarks } from './core-actors.js';
import { groupBenchmarks } from './core-groups.js';
import { objectBenchmarks } from './core-objects.js';
import { taskBenchmarks } from './core-tasks.js';
import { median, type BenchRecord, type Benchmark } from './measure.js';

const FIRST_RESULT_PROCESSES = 5;

export interface CoreBenchOptions {
  /** Only benchmarks whose name contains this. */
  readonly only?: string;
  /** Called as soon as a record is measured. */
  readonly report: (record: BenchRecord) => void;
}

/** A program of its own process: what it prints as JSON on its last line. */
async function inFreshProcess<T>(program: string): Promise<T> {
  const child = spawn(process.execPath, [fileURLToPath(new URL(program, import.meta.url))], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => { output += text; });
  const code = await new Promise((resolve) => child.once('close', resolve));
  if (code !== 0) throw new Error(`${program} exited with code ${String(code)}`);
  return JSON.parse(output.trim().split('\n').at(-1)!) as T;
}

/** From the start of a process to the first result in its hands, in milliseconds. */
async function firstResult(): Promise<number> {
  const startedAt = Date.now();
  const { resultAt } = await inFreshProcess<{ resultAt: number }>('./first-result.js');
  return resultAt - startedAt;
}

/** Those that share one cluster. */
const sharedBenchmarks = (): readonly Benchmark[] => [...taskBenchmarks(), ...actorBenchmarks(), ...objectBenchmarks(), ...groupBenchmarks()];

const ownProcesses: readonly Benchmark[] = [
  {
    name: 'time to first result',
    run: async () => {
      const ms: number[] = [];
      for (let i = 0; i < FIRST_RESULT_PROCESSES; i++) ms.push(await firstResult());
      return [{ name: 'time to first result', value: median(ms), unit: 'ms', better: 'lower' }];
    },
  },
  {
    name: '1m queued tasks time, 1m queued tasks memory, bytes per queued task',
    run: () => inFreshProcess<readonly BenchRecord[]>('./million.js'),
  },
];

/** Runs the benchmarks one after another on a cluster of their own. */
export async function runCoreBench(options: CoreBenchOptions): Promise<void> {
  const wanted = (benchmark: Benchmark): boolean => benchmark.name.includes(options.only ?? '');
  const shared = sharedBenchmarks().filter(wanted);
  if (shared.length > 0) {
    await init({ logs: false });
    try {
      for (const benchmark of shared) for (const record of await benchmark.run()) options.report(record);
    } finally {
      await shutdown();
    }
  }
  for (const benchmark of ownProcesses.filter(wanted)) for (const record of await benchmark.run()) options.report(record);
}

/** The names of all benchmarks. */
export function coreBenchNames(): readonly string[] {
  return [...sharedBenchmarks(), ...ownProcesses].map(({ name }) => name);
}
