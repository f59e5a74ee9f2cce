/**
 * Runs the native benchmarks, `cluster bench collective` and `cluster bench kernels`, and writes their tables beside the targets.
 *
 *     node bench/native.mjs [--only collective] [--out bench/RESULTS-native.md]
 *
 * In these programs Muster and its peers take turns in every round; the values are medians. A peer that is not installed is skipped with its
 * reason, and a target that was missed is a result, not a failure.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { describeRun } from './facts.mjs';
import { NATIVE_TARGETS } from './native-targets.mjs';
import { renderSuites } from './report.mjs';
import { runSuite } from './suite.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SUITES = [
  { name: 'collective', title: 'Collectives among two processes of this machine' },
  { name: 'kernels', title: 'Kernels on the CPU' },
];

/** A script of its own measures them, which needs no Node. */
const ON_GPUS = {
  title: 'Kernels and collectives on GPUs',
  notes: ['Not measured: no GPU has run them yet. `native/cuda/check.sh` compiles, checks and times them on a machine that has one.'],
  records: [], targets: [],
};

const { values: options } = parseArgs({
  options: { only: { type: 'string', default: '' }, out: { type: 'string', default: join(ROOT, 'bench/RESULTS-native.md') } },
});
const facts = describeRun();
const suites = [];
for (const { name, title } of SUITES.filter((suite) => suite.name.includes(options.only))) {
  const { records, notes } = await runSuite(name);
  for (const note of notes) console.log(note);
  suites.push({ title, notes, records, targets: NATIVE_TARGETS.filter(({ suite }) => suite === name) });
  // After each suite: an interrupted run keeps what it has measured.
  writeFileSync(options.out, renderSuites({ title: 'Native benchmarks', script: 'bench/native.mjs', facts, suites: [...suites, ON_GPUS] }));
}
console.log(`wrote ${options.out}`);
