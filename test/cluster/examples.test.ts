/** Examples that check their own result, run as users run them, each a small one on a cluster of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const EXAMPLE_TIMEOUT_MS = 250_000;

const home = mkdtempSync(join(tmpdir(), 'muster-x-'));
t.teardown(() => rmSync(home, { recursive: true, force: true }));
const { MUSTER_ADDRESS: _, ...env } = process.env;

/** What an example prints. @throws Error with its complaints where it fails */
async function run(name: string, ...flags: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, ['--import', 'tsx', `examples/${name}.ts`, ...flags], {
    cwd: ROOT, env: { ...env, MUSTER_HOME: home }, stdio: ['ignore', 'pipe', 'pipe'], timeout: EXAMPLE_TIMEOUT_MS, killSignal: 'SIGKILL',
  });
  const [output, complaints, [code, signal]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  if (code !== 0) throw new Error(`${name} ended with ${signal ?? code}:\n${complaints}`);
  return output;
}

t.test('four ranks that train in bf16 learn what one rank learns', async (t) => {
  const output = await run('allreduce');
  for (const size of ['4 ranks', '1 rank']) t.match(output, new RegExp(`${size}, step 200: loss 0\\.003\\d+, scale 2\\^12\\d, [1-9] steps? left out`));
  t.match(output, /largest difference of a weight: \d\.\d+e-\d+, and at most 0\.015625 is expected/);
});

t.test('a sweep over a classifier of digits stops what learns too slowly, and learns', async (t) => {
  const output = await run('tune-mnist', '--trials', '4', '--epochs', '3');
  t.match(output, /\d+ epochs of 12: the rest was stopped early/);
  t.ok(Number(/test accuracy\s+([\d.]+) %/.exec(output)?.[1]) > 50, output);
});

t.test('a convolutional network that goes out as ONNX answers there as here', async (t) => {
  const output = await run('export-onnx', '--images', '3200');
  const [, inRuntime, here, apart] = /test accuracy ([\d.]+) % in ONNX Runtime, ([\d.]+) % here; logits at most (\S+) apart/.exec(output)!;
  t.ok(Math.abs(Number(inRuntime) - Number(here)) < 0.05 && Number(here) > 85, output);
  t.ok(Number(apart) < 1e-4, output);
});

t.test('a model that is written as ONNX answers as the network did, and serving it has a Pareto front', async (t) => {
  const output = await run('tune-onnx', '--trials', '6', '--units', '32', '--seconds', '0.03');
  const [, asOnnx, before] = /^test accuracy ([\d.]+) % as ONNX, ([\d.]+) % before$/m.exec(output)!;
  t.equal(asOnnx, before);
  t.ok(Number(asOnnx) > 80, output);
  t.match(output, /\d of 6 settings are beaten by no other one in both:\nlatency .*\n +[\d.]+ ms +\d+ +\d+ +\d+ {3}(sequential|parallel)/);
});

t.test('a sweep over a convolutional network chooses, and two workers train the best', async (t) => {
  const output = await run('mnist-sweep', '--trials', '3', '--images', '6400', '--epochs', '1');
  t.match(output, /best of 3 trials: learning rate 0\.\d+, batch (32|64|128), dropout 0\.\d\d, with \d\d\.\d\d % of the validation images after 8192 images\n/);
  t.match(output, /training it on 6,400 images with 2 workers/);
  t.ok(Number(/test accuracy ([\d.]+) %/.exec(output)?.[1]) > 80, output);
});

t.test('a network that learns digits on two workers learns, and goes on from its checkpoint', async (t) => {
  const storage = `${home}/digits`;
  const first = await run('train-mnist', '--images', '12800', '--epochs', '1', '--storage', storage);
  t.match(first, /100 steps of 128 images on 2 ranks; loss 0\.\d+; test accuracy/);
  const accuracy = Number(/test accuracy ([\d.]+) %/.exec(first)?.[1]);
  t.ok(accuracy > 85, first);
  const again = await run('train-mnist', '--images', '12800', '--epochs', '1', '--storage', storage);
  t.equal(Number(/test accuracy ([\d.]+) %/.exec(again)?.[1]), accuracy, 'of the weights that were saved');
});

t.test('a model of letters learns the same on three meshes, and writes', async (t) => {
  const output = await run('char-gpt', '--steps', '40', '--layers', '2', '--width', '32', '--context', '32', '--batch', '16');
  const losses = ['data', 'tensor', 'pipeline'].map((axis) => Number(new RegExp(`^${axis}-parallel: 40 steps of 512 letters.*validation loss ([\\d.]+)$`, 'm').exec(output)?.[1]));
  t.ok(losses.every((loss) => loss < 3), output);
  t.match(output, /validation losses are 0\.00\d+ apart, and at most 0.01 is expected\n\n[^]{300}/);
});
