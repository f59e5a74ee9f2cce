/** Optuna as a peer of the searchers: it proposes, and the loss is worked out here, so that both sides minimise the same function. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { coordinateOf } from '../../packages/tune/dist/space/scale.js';

const FOLDER = fileURLToPath(new URL('.', import.meta.url));
const PYTHON = process.env.MUSTER_BENCH_PYTHON ?? join(FOLDER, '.venv/bin/python');

/** Why Optuna cannot run here, or null. */
export function optunaLacks() {
  return existsSync(PYTHON) ? null : 'not installed: run `node bench/peers/setup.mjs`';
}

/**
 * Minimises a loss with one of Optuna's samplers.
 * @param {{ sampler: string, seed: number, trials: number, noisy: boolean, space: import('@muster/tune').SearchSpace, evaluate: (config: any) => number }} job
 * @returns {Promise<{ version: string, suggestMs: number[] }>} what each suggestion took
 */
export async function minimizeWithOptuna({ space, evaluate, ...job }) {
  const child = spawn(PYTHON, ['-W', 'ignore', join(FOLDER, 'optuna-search.py')], { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, OMP_NUM_THREADS: '1' } });
  child.stdin.write(`${JSON.stringify({ ...job, dimensions: space.dimensions })}\n`);
  const suggestMs = [];
  let version = null;
  for await (const line of createInterface({ input: child.stdout })) {
    if (version === null) {
      ({ version } = JSON.parse(line));
      continue;
    }
    const { values, ms } = JSON.parse(line);
    suggestMs.push(ms);
    child.stdin.write(`${evaluate(space.configOf(values.map((value, index) => coordinateOfValue(space.dimensions[index], value))))}\n`);
  }
  if (suggestMs.length < job.trials) throw new Error(`Optuna stopped after ${suggestMs.length} of ${job.trials} trials`);
  return { version, suggestMs };
}

function coordinateOfValue(dimension, value) {
  return value === null || dimension.kind === 'categorical' ? value : coordinateOf(dimension, value);
}
