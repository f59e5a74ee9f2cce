/** The examples on real input run to their ends, each a small one, on clusters of their own. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

t.setTimeout(300_000); // a loaded machine takes its time

const home = mkdtempSync(join(tmpdir(), 'muster-x-'));
t.teardown(() => rmSync(home, { recursive: true, force: true }));

const { MUSTER_ADDRESS: _, ...env } = process.env;

/** What an example prints. @throws Error where it fails */
function run(name: string, ...flags: readonly string[]): string {
  const file = fileURLToPath(new URL(`../../../examples/${name}.ts`, import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', file, ...flags], { encoding: 'utf8', env: { ...env, MUSTER_HOME: home } });
  if (status !== 0) throw new Error(`${name} ended with ${status}:\n${stderr}`);
  return stdout;
}

/** The number after a text. */
const numberAfter = (text: string, before: RegExp): number => Number(new RegExp(`${before.source}\\s*([\\d.]+)`).exec(text)?.[1]);

t.test('a sweep over a classifier of digits stops what learns too slowly, and learns', (t) => {
  const printed = run('tune-mnist', '--trials', '4', '--epochs', '3');
  t.match(printed, /\d+ epochs of 12: the rest was stopped early/);
  t.ok(numberAfter(printed, /test accuracy/) > 50, printed);
  t.end();
});

t.test('a model that is written as ONNX answers as the network did, and serving it has a Pareto front', (t) => {
  const printed = run('tune-onnx', '--trials', '6', '--units', '32', '--seconds', '0.03');
  const [, asOnnx, before] = /^test accuracy ([\d.]+) % as ONNX, ([\d.]+) % before$/m.exec(printed)!;
  t.equal(asOnnx, before);
  t.ok(Number(asOnnx) > 80, printed);
  t.match(printed, /\d of 6 settings are beaten by no other one in both:\nlatency .*\n +[\d.]+ ms +\d+ +\d+ +\d+ {3}(sequential|parallel)/);
  t.end();
});

t.test('four ranks that train in bf16 learn what one rank learns', (t) => {
  const printed = run('allreduce');
  for (const size of ['4 ranks', '1 rank']) t.match(printed, new RegExp(`${size}, step 200: loss 0\\.003\\d+, scale 2\\^12\\d, [1-9] steps? left out`));
  t.match(printed, /largest difference of a weight: \d\.\d+e-\d+, and at most 0\.015625 is expected/);
  t.end();
});
