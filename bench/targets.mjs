/**
 * The pages that have a line for each record, and the targets that these are held to. Data only. What the core benchmark compares stands in comparisons.mjs, and the
 * targets of searchers in search-report.mjs.
 *
 * @typedef {import('./comparisons.mjs').Target & SuiteTargetNames} SuiteTarget
 *
 * @typedef {object} SuiteTargetNames
 * @property {string} figure What the target is about, for people.
 * @property {string} name The record that is held to it: with `ours` a ratio, else Muster's own value.
 * @property {string} [ours] Muster's record beside the peer's.
 * @property {string} [unit] The record's, where it is Muster's own value.
 * @property {string | RegExp} [peer] How the peer's record begins: its version follows.
 *
 * @typedef {object} Suite
 * @property {string | null} name After `cluster bench`; null where another program measures.
 * @property {string} title
 * @property {readonly SuiteTarget[]} targets
 *
 * @typedef {object} SuitePage
 * @property {string} page Its file in bench/results/, without its ending.
 * @property {string} title
 * @property {string} script What makes it.
 * @property {string} [needs] What it takes to make it, beyond this machine.
 * @property {readonly Suite[]} suites
 */

/** @returns {SuiteTarget} of all-reduce beside a peer */
const allReduce = (what, peer, target) => ({ figure: `allReduce f32 ${what}`, name: `allReduce f32 ${what}, ${peer}'s time to muster's`, ours: `allReduce f32 ${what}, muster`, peer: `allReduce f32 ${what}, ${peer}`, ...target });

const COLLECTIVE_TARGETS = [
  ...['1 KiB', '64 KiB'].map((size) => allReduce(`${size}, 2 ranks`, 'openmpi', { atLeast: 1 })),
  ...['1 MiB', '16 MiB', '64 MiB'].map((size) => allReduce(`${size}, 2 ranks`, 'openmpi', { atLeast: 1.3 })),
  ...['1 KiB', '64 KiB', '1 MiB', '16 MiB', '64 MiB'].map((size) => allReduce(`${size}, 2 nodes over loopback`, 'openmpi', { atLeast: 1 })),
  allReduce('1 KiB, 2 ranks', 'gloo', { atLeast: 10 }),
  allReduce('64 MiB, 2 ranks', 'gloo', { atLeast: 2 }),
  { figure: 'allReduce f32 1 KiB, 2 ranks, JavaScript over native', name: 'allReduce f32 1 KiB, 2 ranks, JavaScript over native', atMost: 5, unit: 'us' },
  { figure: 'allReduce bf16 to f32 of equal bytes, 64 MiB, 2 ranks', name: 'allReduce bf16 to f32 of equal bytes, 64 MiB, 2 ranks', atMost: 1.2, unit: 'ratio' },
];

const product = (size, peer) => ({ figure: `gemm f32 ${size}, 2 threads`, name: `gemm f32 to ${peer} ${size}, 2 threads`, ours: `gemm f32 ${size}, 2 threads`, peer: `${peer} f32 ${size}, 2 threads`, atLeast: 0.95 });
/** Bytes a second beside those of a copy. */
const bandwidth = (what, threads) => ({ figure: `${what}${threads}`, name: `${what} to memcpy${threads}`, ours: `${what}${threads}`, peer: `memcpy${threads}`, atLeast: 0.8 });

const KERNEL_TARGETS = [
  ...[512, 1024, 2048].flatMap((size) => [product(size, 'OpenBLAS'), product(size, 'oneDNN')]),
  ...[', 1 thread', ', 2 threads'].flatMap((threads) => [
    ...['f16', 'bf16', 'f8e4m3', 'f8e5m2'].flatMap((dtype) => [bandwidth(`convert f32 to ${dtype}`, threads), bandwidth(`convert ${dtype} to f32`, threads)]),
    ...['unscale and check f32', 'unscale and check bf16', 'AdamW bf16 gradients and copies', 'AdamW f32'].map((what) => bandwidth(what, threads)),
    { figure: `AdamW f32${threads}`, name: `AdamW f32 to PyTorch's fused${threads}`, ours: `AdamW f32${threads}`, peer: new RegExp(`^AdamW f32 of PyTorch .*, fused${threads}$`), atLeast: 1 },
  ]),
];

const GPU_TARGETS = [
  ...['AdamW, bf16', 'convert f32 to bf16', 'convert bf16 to f32', 'convert f32 to f8e4m3', 'unscale bf16', 'shared allReduce, 2 ranks, f32', 'shared allReduce, 4 ranks, bf16'].map((what) => (
    { figure: `${what}, on a GPU`, name: `${what} to device copy`, ours: what, peer: 'device copy', atLeast: 0.85 })),
  ...[4096, 8192].flatMap((side) => [['own wgmma', 0.6], ['cublasLt', 0.97]].map(([algorithm, atLeast]) => (
    { figure: `product bf16 ${side}, ${algorithm}, on a GPU`, name: `product bf16 ${side}, ${algorithm} to PyTorch`, ours: `product bf16 ${side}, ${algorithm}`, peer: `product bf16 ${side}, PyTorch`, atLeast }))),
];

/** A training step's time beside PyTorch's. */
const step = (model, target) => ({ figure: `${model}: step`, name: `${model}: PyTorch's time to muster's`, ours: `${model}: step`, peer: `${model}: step, PyTorch`, ...target });
const own = (name, target) => ({ figure: name, name, ...target });
const GPT = 'GPT of 4 layers, 128 wide, batch 16 x 128';

const TRAIN_TARGETS = [
  step('MLP 784-256-128-10, batch 128, f32, 2 threads', { atLeast: 1 }),
  step('CNN 16-32-128-10 of 3 x 3, batch 128, f32, 2 threads', { atLeast: 0.8 }),
  step(`${GPT}, f32, 2 threads`, { atLeast: 0.8 }),
  own(`${GPT}: bf16 to f32 in memory, parameters too`, { atMost: 0.6, unit: 'ratio' }),
  own('CNN 16-32-128-10 of 3 x 3, batch 128 a rank: efficiency of 2 ranks on 2 cores', { atLeast: 0.9, unit: 'ratio' }),
  own(`${GPT} a rank: efficiency of 2 ranks on 2 cores`, { atLeast: 0.9, unit: 'ratio' }),
  own('a rank killed, checkpoint every 50 steps: time lost beside the steps since', { atMost: 5, unit: 's' }),
  own("GPT-2 124M, bf16, on a GPU: tokens a second to PyTorch's", { atLeast: 0.5, unit: 'ratio' }),
];

const SCHEDULER_TARGETS = [
  own('lease decisions, 10,000 nodes, 50 shapes, 60% full', { atLeast: 200_000, unit: '1/s' }),
  own('cost of a decision, 10,000 nodes against 1,000', { atMost: 2, unit: 'ratio' }),
  own('one node changes, next decision, 10,000 nodes', { atMost: 50, unit: 'us' }),
  own('gang of 1,000 gpus in one zone of 10,000 nodes', { atMost: 20, unit: 'ms' }),
  ...['pack', 'spread', 'strict-pack', 'strict-spread'].map((strategy) => own(`1,000 groups of 8 bundles on 1,000 nodes, ${strategy}`, { atMost: 1000, unit: 'ms' })),
];

const TRIAL_TARGETS = [
  own('no-op trial, 16 at once', { atMost: 5, unit: 'ms' }),
  { figure: 'no-op trial, 16 at once', name: "no-op trial, 16 at once, ray tune's time to muster's", ours: 'no-op trial, 16 at once', peer: 'no-op trial, 16 at once, ray tune', atLeast: 100 },
];

/** @type {readonly SuitePage[]} */
export const SUITE_PAGES = [
  { page: 'scheduler', title: 'Scheduler benchmarks', script: 'bench/suites.mjs scheduler', suites: [{ name: 'scheduler', title: 'The planner by itself', targets: SCHEDULER_TARGETS }] },
  {
    page: 'native', title: 'Native benchmarks', script: 'bench/suites.mjs native', suites: [
      { name: 'collective', title: 'Collectives among two processes of this machine', targets: COLLECTIVE_TARGETS },
      { name: 'kernels', title: 'Kernels on the CPU', targets: KERNEL_TARGETS },
    ],
  },
  { page: 'gpu', title: 'GPU benchmarks', script: 'bench/suites.mjs gpu', needs: 'what `native/cuda/check.sh` prints on a machine with a GPU', suites: [{ name: null, title: 'Kernels and collectives on a GPU', targets: GPU_TARGETS }] },
  { page: 'train', title: 'Training benchmarks', script: 'bench/suites.mjs train', suites: [{ name: 'train', title: 'Steps, memory, ranks', targets: TRAIN_TARGETS }] },
  { page: 'tune-trials', title: 'Trials that do nothing', script: 'bench/tune-trials.mjs', suites: [{ name: null, title: 'What a trial costs', targets: TRIAL_TARGETS }] },
];
