/**
 * What trials cost that do nothing: Muster's and Ray Tune's, one after another in every round, so that a busy machine is busy for both.
 *
 *     node bench/tune-trials.mjs [--rounds 3] [--ray-trials 30] [--out FOLDER]
 *
 * Muster's figures are those of `cluster bench tune --only trials`. Ray runs from bench/peers/.venv (or the Python that MUSTER_BENCH_PYTHON names); without it, Muster's
 * figures are shown alone, with the reason.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { describeRun } from './facts.mjs';
import { median } from './peers/measure.mjs';
import { formatValue, runForRecords } from './records.mjs';
import { RESULTS_FOLDER, saveSuites } from './results.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PEERS = fileURLToPath(new URL('peers/', import.meta.url));
const PYTHON = process.env.MUSTER_BENCH_PYTHON ?? `${PEERS}.venv/bin/python`;
/** Ray takes a second for each trial. */
const TIMEOUT_MS = 10 * 60_000;
const AT_ONCE = [1, 16];

const { values: options } = parseArgs({ options: { rounds: { type: 'string', default: '3' }, 'ray-trials': { type: 'string', default: '30' }, out: { type: 'string', default: RESULTS_FOLDER } } });
const facts = describeRun();
const hasRay = existsSync(PYTHON);
if (!hasRay) console.error('Ray is not installed: run `node bench/peers/setup.mjs`');

/** Values by name, a list for each. */
const ours = new Map();
const rays = new Map();
const units = new Map();
let peer = 'ray tune';

const add = (values, records) => { for (const { name, value } of records) values.set(name, [...(values.get(name) ?? []), value]); };

for (let round = 1; round <= Number(options.rounds); round++) {
  const records = await runForRecords({ command: process.execPath, args: ['packages/cli/bin/cluster.mjs', 'bench', 'tune', '--only', 'trials', '--json'], cwd: ROOT, timeoutMs: TIMEOUT_MS });
  add(ours, records);
  if (hasRay) {
    const atOnce = AT_ONCE.flatMap((count) => ['--at-once', String(count)]);
    const rayRecords = await runForRecords({ command: PYTHON, args: ['-W', 'ignore', 'ray-tune.py', '--trials', options['ray-trials'], ...atOnce], cwd: PEERS, timeoutMs: TIMEOUT_MS });
    peer = rayRecords[0].peer;
    add(rays, rayRecords);
  }
  console.error(`round ${round} of ${options.rounds}`);
  for (const { name, unit } of records) units.set(name, unit);
}

const records = [...ours].flatMap(([name, values]) => {
  const record = { name, value: median(values), unit: units.get(name), better: 'lower' };
  if (!rays.has(name)) return [record];
  const peerValue = median(rays.get(name));
  return [record, { ...record, name: `${name}, ${peer}`, value: peerValue }, { name: `${name}, ray tune's time to muster's`, value: peerValue / record.value, unit: 'ratio', better: 'higher' }];
});
for (const { name, value, unit } of records) console.log(`${name.padEnd(64)} ${formatValue(value).padStart(12)} ${unit}`);
saveSuites(options.out, 'tune-trials', { facts, measured: [{ notes: hasRay ? [] : ['Ray is left out, since it is not installed: run `node bench/peers/setup.mjs`.'], records }] });
