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
 * @param {{ sampler: string, seed: number, trials: number, space: import('@muster/tune').SearchSpace, loss: (config: any) => number }} job
 * @returns {Promise<{ losses: number[], suggestMs: number[] }>} one of each a trial
 */
export async function minimizeWithOptuna({ sampler, seed, trials, space, loss }) {
  const child = spawn(PYTHON, ['-W', 'ignore', join(FOLDER, 'optuna-search.py')], { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, OMP_NUM_THREADS: '1' } });
  child.stdin.write(`${JSON.stringify({ sampler, seed, trials, dimensions: space.dimensions })}\n`);
  const losses = [];
  const suggestMs = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const { values, ms } = JSON.parse(line);
    losses.push(loss(space.configOf(values.map((value, index) => coordinateOfValue(space.dimensions[index], value)))));
    suggestMs.push(ms);
    child.stdin.write(`${losses.at(-1)}\n`);
  }
  if (losses.length < trials) throw new Error(`Optuna stopped after ${losses.length} of ${trials} trials`);
  return { losses, suggestMs };
}

function coordinateOfValue(dimension, value) {
  return value === null || dimension.kind === 'categorical' ? value : coordinateOf(dimension, value);
}
