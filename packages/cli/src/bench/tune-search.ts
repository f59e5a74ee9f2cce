/** The searchers' part of `cluster bench tune`: what bench/tune-search.mjs measures, beside Optuna where that is installed, as records. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { BenchRecord } from './measure.js';

const SCRIPT = fileURLToPath(new URL('../../../../bench/tune-search.mjs', import.meta.url));

/** A line that the script prints. */
type SearchLine =
  | { readonly searcher: string; readonly name: string; readonly trials: number; readonly regret: number; readonly peer: number | null; readonly verdict: string | null }
  | { readonly searcher: string; readonly trials: number; readonly suggestMs: number; readonly peerMs: number | null }
  | { readonly name: 'zdt1'; readonly hypervolumes: readonly number[] }
  | { readonly name: string; readonly target: number; readonly random: number; readonly asha: number; readonly times: number };

/** Which part of the figures is wanted, and over how many seeds regrets are medians. */
export interface TuneSearchOptions {
  readonly searchers: readonly string[];
  readonly seeds: number;
}

/** Runs the searchers for their figures. Regrets take a minute with TPE, and half an hour with the Gaussian process; Optuna's, where it is, as long again or longer. */
export async function runTuneSearch({ searchers, seeds }: TuneSearchOptions, report: (record: BenchRecord) => void): Promise<void> {
  const child = spawn(process.execPath, [SCRIPT, '--json', '--seeds', String(seeds), ...searchers.flatMap((searcher) => ['--searcher', searcher])], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'close');
  for await (const line of createInterface({ input: child.stdout })) for (const record of recordsOf(JSON.parse(line) as SearchLine)) report(record);
  const [code, signal] = await ended;
  if (code !== 0) throw new Error(`${SCRIPT} ended with ${String(code ?? signal)}`);
}

function recordsOf(line: SearchLine): BenchRecord[] {
  const lower = (name: string, value: number | null, unit: string): BenchRecord[] => (value === null ? [] : [{ name, value, unit, better: 'lower' }]);
  if ('regret' in line) {
    const what = `${line.name} after ${line.trials} trials, regret of ${line.searcher}`;
    return [...lower(what, line.regret, ''), ...lower(`  Optuna's (ours is ${line.verdict === 'no difference' ? 'no different' : line.verdict})`, line.peer, '')];
  }
  if ('suggestMs' in line) return [...lower(`${line.searcher}, a suggestion after ${line.trials} trials`, line.suggestMs, 'ms'), ...lower("  Optuna's", line.peerMs, 'ms')];
  if ('hypervolumes' in line) return [{ name: 'NSGA-II on ZDT1, 2,000 evaluations, hypervolume', value: medianOf(line.hypervolumes), unit: '', better: 'higher' }];
  return [{ name: `random search's epochs by ASHA's, to an error of ${line.target} on ${line.name}`, value: line.times, unit: 'times', better: 'higher' }];
}

const medianOf = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;
