/** The benchmark of a GPT-2 on a GPU runs, at a small size in the emulator, and says when there is none. */
import { openCuda } from '@muster/native/cuda';
import { emulatedEnvironment, emulatorLacks } from '@muster/native/cuda-emulator';
import t from 'tap';
import type { BenchRecord } from './measure.js';
import { runGpuBench } from './train-gpu.js';

const SMALL = { title: 'GPT-2 of nothing', layers: 1, heads: 2, width: 16, tokens: 64, places: 16, texts: 2 };

/** A process has one library of GPUs: where this one has a real one, that is it. */
const hasGpu = openCuda().available && 'there is a GPU';

async function run(): Promise<{ readonly records: readonly BenchRecord[]; readonly notes: readonly string[] }> {
  const [records, notes]: [BenchRecord[], string[]] = [[], []];
  await runGpuBench({ report: (record) => records.push(record), note: (text) => notes.push(text), shape: SMALL, rounds: 1, steps: 1 });
  return { records, notes };
}

t.test('without a GPU it measures nothing, and says why', { skip: hasGpu }, async (t) => {
  const { records, notes } = await run();
  t.strictSame(records, []);
  t.match(notes, [/GPT-2 of nothing is left out: not measured, no GPU: .*(driver|library|GPU)/]);
});

t.test('on a GPU it steps, and reports tokens a second', { skip: hasGpu || (emulatorLacks() ?? false) }, async (t) => {
  const before = { ...process.env };
  t.teardown(() => { process.env = before; });
  Object.assign(process.env, emulatedEnvironment(), { MUSTER_BENCH_PYTHON: '/nowhere' });
  const { records, notes } = await run();
  t.match(records, [{ name: 'GPT-2 of nothing, bf16, batch 2 x 16, emulated', unit: 'tokens/s', better: 'higher' }]);
  t.ok(records[0]!.value > 0);
  t.match(notes, [/PyTorch on the GPU is left out/]);
});
