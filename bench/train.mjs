/**
 * Runs `cluster bench train` and writes its table beside the targets.
 *
 *     node bench/train.mjs [--out bench/RESULTS-train.md]
 *
 * Muster and PyTorch take turns in every round; the values are medians. Without PyTorch its lines are left out, with the reason; a target that was missed is a
 * result, not a failure.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { describeRun } from './facts.mjs';
import { renderSuites } from './report.mjs';
import { runSuite } from './suite.mjs';

/** A record whose name begins with a target's name is held to it. */
const TARGETS = [
  { name: "MLP 784-256-128-10, batch 128, f32, 2 threads: PyTorch's time to muster's", atLeast: 1 },
  { name: "CNN 16-32-128-10 of 3 x 3, batch 128, f32, 2 threads: PyTorch's time to muster's", atLeast: 0.8 },
  { name: "GPT of 4 layers, 128 wide, batch 16 x 128, f32, 2 threads: PyTorch's time to muster's", atLeast: 0.8 },
  { name: 'GPT of 4 layers, 128 wide, batch 16 x 128: bf16 to f32 in memory, parameters too', atMost: 0.6 },
  { name: 'CNN 16-32-128-10 of 3 x 3, batch 128 a rank: efficiency', atLeast: 0.9 },
  { name: 'GPT of 4 layers, 128 wide, batch 16 x 128 a rank: efficiency', atLeast: 0.9 },
  { name: 'a rank killed', atMost: 5 },
  { name: "GPT-2 124M, bf16, on a GPU: tokens a second to PyTorch's", atLeast: 0.5 },
];

const { values: options } = parseArgs({ options: { out: { type: 'string', default: fileURLToPath(new URL('RESULTS-train.md', import.meta.url)) } } });
const { records, notes } = await runSuite('train');
for (const note of notes) console.log(note);
const suites = [{ title: 'Steps, memory, ranks', notes, records, targets: TARGETS }];
writeFileSync(options.out, renderSuites({ title: 'Training benchmarks', script: 'bench/train.mjs', facts: describeRun(), suites }));
console.log(`wrote ${options.out}`);
