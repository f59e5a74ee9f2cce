import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { recordsOfGpu } from './records.mjs';
import { comparisonTargetRows } from './report.mjs';
import { RESULTS_FOLDER, saveSuites, saveSummary } from './results.mjs';

/** A folder for results, with those that are kept here or without. */
function folderFor(t, { withKept = false } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'muster-results-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  if (withKept) cpSync(join(RESULTS_FOLDER, 'results'), join(folder, 'results'), { recursive: true });
  return folder;
}

const FACTS = [['date', '2026-01-02T03:04:05.678Z'], ['commit', 'abcdef1']];

t.test('the summary is the one that the kept pages make', async (t) => {
  const folder = folderFor(t, { withKept: true });
  saveSummary(folder);
  t.equal(readFileSync(join(folder, 'RESULTS.md'), 'utf8'), readFileSync(join(RESULTS_FOLDER, 'RESULTS.md'), 'utf8'));
});

t.test('a page of records has a verdict where there is a target, and the summary has its targets alone', async (t) => {
  const folder = folderFor(t);
  const records = [
    { name: 'lease decisions, 10,000 nodes, 50 shapes, 60% full', value: 199_999, unit: '1/s', better: 'higher' },
    { name: 'cost of a decision, 10,000 nodes against 1,000', value: 1.5, unit: 'ratio', better: 'lower' },
    { name: 'without a target', value: 7, unit: 'ms', better: 'lower' },
  ];
  saveSuites(folder, 'scheduler', { facts: FACTS, measured: [{ notes: ['a note'], records }] });
  const page = readFileSync(join(folder, 'results/scheduler.md'), 'utf8');
  t.match(page, '| lease decisions, 10,000 nodes, 50 shapes, 60% full | 1/s | 199,999 | ≥ 200,000 1/s | **missed** |');
  t.match(page, '| cost of a decision, 10,000 nodes against 1,000 | ratio | 1.5 | ≤ 2× | met |');
  t.match(page, '| without a target | ms | 7 |  |  |');
  t.match(page, 'Not measured: gang of 1,000 gpus in one zone of 10,000 nodes, ≤ 20 ms.');
  const summary = readFileSync(join(folder, 'RESULTS.md'), 'utf8');
  t.match(summary, '| lease decisions, 10,000 nodes, 50 shapes, 60% full | 199,999 1/s |  |  | ≥ 200,000 1/s | **missed** | abcdef1 | 2026-01-02 |');
  t.match(summary, '| gang of 1,000 gpus in one zone of 10,000 nodes |  |  |  | ≤ 20 ms | not measured |  |  |');
  t.notMatch(summary, 'without a target');
});

t.test('a target beside a peer shows both values and their ratio', async (t) => {
  const folder = folderFor(t);
  const what = 'allReduce f32 64 MiB, 2 ranks';
  const records = [['muster', 10, 'us'], ['openmpi 4.1.4', 40, 'us'], ["openmpi's time to muster's", 4.02, 'ratio']].map(([who, value, unit]) => ({ name: `${what}, ${who}`, value, unit, better: 'lower' }));
  saveSuites(folder, 'native', { facts: FACTS, measured: [{ notes: [], records }, { notes: [], records: [] }] });
  t.match(readFileSync(join(folder, 'RESULTS.md'), 'utf8'), `| ${what} | 10 us | openmpi 4.1.4: 40 us | 4.02× | ≥ 1.3× | met | abcdef1 | 2026-01-02 |`);
});

t.test('of a comparison that failed its target is not measured', async (t) => {
  const peers = [{ against: { peer: 'ray', atLeast: 12 }, series: { who: 'ray 2', name: 'tasks', unit: '1/s', values: [5, 7, 6] } }, { against: { peer: 'piscina' }, series: null }];
  t.strictSame(comparisonTargetRows([{ name: 'tasks', ours: { who: 'Muster', name: 'tasks', unit: '1/s', values: [60, 90] }, peers, failures: [] }]), [
    { figure: 'tasks', ours: '75 1/s', peer: 'ray: 6 1/s', ratio: '12.5×', target: '≥ 12×', verdict: 'met' },
  ]);
  t.match(comparisonTargetRows([{ name: 'tasks', ours: null, peers, failures: ['it broke'] }]), [{ ours: 'failed', ratio: '', verdict: 'not measured' }]);
});

t.test("the records of a GPU are read from its script's table", async (t) => {
  const table = `built in build/cuda
  ok 12 - the kernels
# NVIDIA H100, compute capability 9.0, 132 multiprocessors
device copy                                  2600.0 GB/s      1.00
AdamW, bf16                                  2470.0 GB/s      0.95
shared allReduce, 2 ranks, f32               2340.0 GB/s      0.90
product bf16 4096, own wgmma                  500.0 TFLOP/s   0.80
product bf16 4096, PyTorch 2.13.0             625.0 TFLOP/s`;
  const { records, notes } = recordsOfGpu(table);
  t.strictSame(notes, ['On NVIDIA H100, compute capability 9.0, 132 multiprocessors.']);
  t.match(records.map(({ name, value }) => [name, value]), [
    ['device copy', 2600], ['AdamW, bf16', 2470], ['AdamW, bf16 to device copy', 0.95], ['shared allReduce, 2 ranks, f32', 2340], ['shared allReduce, 2 ranks, f32 to device copy', 0.9],
    ['product bf16 4096, own wgmma', 500], ['product bf16 4096, own wgmma to PyTorch', 0.8], ['product bf16 4096, PyTorch 2.13.0', 625],
  ]);
  t.equal(records.length, 8);
});
