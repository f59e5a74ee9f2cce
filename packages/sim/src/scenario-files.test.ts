/** Scenario files: the ones that are shipped, each at a small size and twice from one seed; what is wrong in a file; traces; and that broken rules are found. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { RESOURCE_SCALE, seededRandom, type MusterError } from '@muster/base';
import t from 'tap';
import { VirtualClock } from './clock.js';
import { Ledger } from './ledger.js';
import { readTrace, TRACE_FORMS } from './loads/trace-file.js';
import { play } from './play.js';
import { formatReport } from './report.js';
import { Samples } from './samples.js';
import { scale } from './scaling.js';
import { readDurations } from './scenario-file/distribution.js';
import { Fields } from './scenario-file/fields.js';
import { readScenario } from './scenario-file/scenario-file.js';
import { Source } from './scenario-file/source.js';

const FOLDER = fileURLToPath(new URL('../scenarios/', import.meta.url));

/** What makes a scenario a matter of seconds. */
const SMALLER: Readonly<Record<string, readonly (readonly [RegExp, string])[]>> = {
  'big.toml': [[/^count = 1000$/m, 'count = 40'], [/1000000/, '2000'], [/1667/, '70']],
  'scaling.toml': [[/\[1, 2, .*\]/, '[1, 2, 4]'], [/count-per-node = 800/, 'count-per-node = 200']],
  'wide.toml': [[/^count = 9999$/m, 'count = 60'], [/40000/, '600']],
};

const small = (file: string): string => (SMALLER[file] ?? []).reduce((text, [pattern, replacement]) => text.replace(pattern, replacement), readFileSync(`${FOLDER}${file}`, 'utf8'));
const quietly = (seed: number) => ({ seed, sink: null, onProgress: null });

for (const file of readdirSync(FOLDER).filter((name) => name.endsWith('.toml')).sort()) {
  t.test(`${file} keeps all rules and runs the same twice`, async (t) => {
    const scenario = readScenario(`${FOLDER}${file}`, small(file));
    if (scenario.scalingNodes.length > 0) {
      const { points, failure } = scale(scenario, { ...quietly(1), onPoint: () => {} });
      t.equal(failure, null);
      t.same(points.map(({ nodes }) => nodes), [1, 2, 4]);
      t.ok(points.every(({ headBusy, driverBusy }) => headBusy > 0 && driverBusy > 0), 'costs are counted');
      return;
    }
    const first = play(scenario, quietly(3));
    t.equal(first.failure, null);
    t.equal(first.tasks.done + first.tasks.failed, first.tasks.planned, 'all work is done');
    if (scenario.storm === null) t.equal(first.tasks.failed, 0);
    else t.ok(Object.keys(first.faults).length >= 6, 'many kinds of faults strike');
    const again = play(scenario, quietly(3));
    t.same({ ...again, wallMs: 0 }, { ...first, wallMs: 0 });
    t.not(play(scenario, quietly(4)).hash, first.hash, 'another seed takes another course');
  });
}

const HEAD = '[[nodes]]\ncount = 2\ncpus = 2\n';
const TASKS = '[[workload]]\nkind = "tasks"\ncount = 10\nduration = "5ms"\n';

function failureOf(action: () => unknown): MusterError {
  try {
    action();
  } catch (error) {
    return error as MusterError;
  }
  throw new Error('nothing was thrown');
}

t.test('what is wrong in a file is said with its line and with what is wanted', async (t) => {
  const cases: readonly (readonly [text: string, line: string, what: RegExp])[] = [
    [`${HEAD}cpu = 3\n${TASKS}`, 'line 4', /the key "cpu".*one of count, cpus/],
    [`[[nodes]]\ncpus = -1\n${TASKS}`, 'line 2', /cpus = -1.*from 0 to/],
    [`${HEAD}${TASKS}arrival = { process = "poisson" }\n`, 'line 8', /missing 'per-second'.*a number/],
    [`${HEAD}[[workload]]\nkind = "task"\n`, 'line 5', /kind = "task".*"tasks", "actors"/],
    [`${HEAD}${TASKS}[[workload]]\nkind = "tasks"\ncount = 1\nduration = 5\n`, 'line 11', /duration = 5.*"250ms"/],
    [`${HEAD}${TASKS}[faults]\nuntil = "5s"\ncrash = "often"\n`, 'line 10', /crash = "often".*a number/],
    [`${HEAD}labels = { rack = "r{n}" }\n${TASKS}`, 'line 4', /\{i\/16\}/],
    [`${HEAD}${TASKS}[cluster]\nheartbeat = "6s"\n`, 'line 8', /twice the heartbeat/],
    [`${HEAD}${TASKS}[scaling]\nnodes = [4]\n`, 'line 9', /from 1 to 2/],
    ['[[nodes]\ncount = 1', 'line 1', /TOML/],
  ];
  for (const [text, line, what] of cases) {
    const error = failureOf(() => readScenario('x.toml', text));
    t.equal(error.code, 'INVALID_ARGUMENT');
    t.match(error.message, new RegExp(`x.toml, ${line}\\b`), text);
    t.match(error.message, what);
  }
  t.throws(() => readScenario('x.toml', TASKS), /at least one \[\[nodes\]\]/);
  t.throws(() => readScenario('x.toml', HEAD), /at least one \[\[workload\]\]/);
});

t.test('labels count nodes through all kinds', async (t) => {
  const { groups } = readScenario('x.toml', `${HEAD}labels = { rack = "r{i/4}-{i%3}", name = "n{i}" }\n${TASKS}`);
  t.same(groups[0]!.spec(7).labels, { rack: 'r1-1', name: 'n7' });
});

t.test('work that cannot end in time breaks a rule, and the report says how to run it again', async (t) => {
  const scenario = readScenario('late.toml', `finish-within = "10ms"\n${HEAD}${TASKS.replace('5ms', '1h')}`);
  const report = play(scenario, quietly(9));
  t.match(report.failure, /10 ms after the last fault and the last arrival, 0 of 10 are done/);
  t.equal(report.replay, 'npx cluster sim late.toml --seed 9');
  t.match(formatReport(report), /a rule was broken(.|\n)*npx cluster sim late\.toml --seed 9/);
});

t.test('the means of distributions', async (t) => {
  const cases: readonly (readonly [string, number])[] = [
    ['"7ms"', 7], ['{ distribution = "constant", value = "3ms" }', 3], ['{ distribution = "uniform", range = "2ms..4ms" }', 3], ['{ distribution = "exponential", mean = "5ms" }', 5],
    ['{ distribution = "lognormal", median = "10ms", sigma = 0.5 }', 10 * Math.exp(0.125)], ['{ distribution = "pareto", min = "10ms", alpha = 5 }', 12.5],
  ];
  for (const [text, meanMs] of cases) {
    const source = new Source('x.toml', `d = ${text}`);
    const { sample } = readDurations(new Fields(source, [], source.root), 'd');
    const random = seededRandom(5);
    let sum = 0;
    for (let draw = 0; draw < 50_000; draw++) sum += sample(random);
    t.ok(Math.abs(sum / 50_000 / meanMs - 1) < 0.03, `${text}: ${sum / 50_000}`);
  }
});

t.test('traces: amounts, times and rows that did not run', async (t) => {
  const pai = 'j,worker,2.0,Terminated,100.0,160.0,600.0,29.296875,50.0,T4\nj,ps,1.0,Terminated,90.0,160.0,200.0,,,\nj,x,1.0,Running,10.0,,600.0,1,100.0,T4';
  t.same(readTrace('pai.csv', pai, 'alibaba-gpu-2020'), {
    rows: [
      { arrivalS: 90, durationS: 70, cpus: 2, gpus: 0, memoryMib: 0, instances: 1 },
      { arrivalS: 100, durationS: 60, cpus: 6, gpus: 0.5, memoryMib: 29.296875 * (1e9 / 2 ** 20), instances: 2 },
    ],
    skipped: 1,
  });
  const pods = 'name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\np1,4000,15258,1,220,,BE,Succeeded,50,100,60\np2,88000,327680,8,1000,,LS,Pending,60,,';
  t.same(readTrace('pods.csv', pods, 'alibaba-gpu-2023'), { rows: [{ arrivalS: 50, durationS: 40, cpus: 4, gpus: 0.22, memoryMib: 15258, instances: 1 }], skipped: 1 });
  const job = { submitted_time: '2017-10-07 01:11:39', attempts: [
    { start_time: '2017-10-07 01:12:00', end_time: '2017-10-07 01:13:00', detail: [{ ip: 'm1', gpus: ['gpu0'] }] },
    { start_time: '2017-10-07 01:13:30', end_time: '2017-10-07 01:14:00', detail: [{ ip: 'm2', gpus: ['gpu0', 'gpu1'] }, { ip: 'm3', gpus: ['gpu0', 'gpu1'] }] },
  ] };
  const { rows, skipped } = readTrace('log.json', JSON.stringify([job, { submitted_time: '2017-10-07 01:00:00', attempts: [] }]), 'philly');
  t.same(rows.map(({ durationS, gpus }) => [durationS, gpus]), [[90, 2], [90, 2]]);
  t.equal(skipped, 1);
  t.throws(() => readTrace('a.csv', 'name,cpu_milli\np,1', 'alibaba-gpu-2023'), /without the columns memory_mib/);
  t.throws(() => readTrace('a.json', '{', 'philly'), /cluster_job_log/);
  t.equal(TRACE_FORMS.length, 3);
});

t.test('a trace whose tasks fit no node is refused', async (t) => {
  const text = `${HEAD}[[workload]]\nkind = "trace"\nform = "philly"\nfile = "traces/philly.json"\n`;
  t.throws(() => readScenario(`${FOLDER}x.toml`, text), /line 7.*asks for \d+ cpus/);
  t.throws(() => readScenario('/nowhere/x.toml', text), /a file that can be read/);
});

t.test('the ledger finds nodes that hold too much, GPUs given away twice and executions too many', async (t) => {
  const start = () => {
    const ledger = new Ledger(new VirtualClock());
    ledger.nodeAdded('n', { cpu: 2 * RESOURCE_SCALE, gpu: RESOURCE_SCALE });
    for (let sequence = 1; sequence < 5; sequence++) ledger.submitted('o', sequence, { name: 'f', retries: 0 });
    const begin = (leaseId: string, sequence: number) => ledger.began({ ownerKey: 'o', sequence, workerId: leaseId, nodeId: 'n', leaseId });
    return { ledger, begin };
  };
  {
    const { ledger, begin } = start();
    for (const leaseId of ['a', 'b', 'c']) ledger.leaseStarting(leaseId, 'n', { resources: { cpu: RESOURCE_SCALE }, bundle: null });
    const first = begin('a', 1);
    begin('b', 2);
    ledger.ended(first);
    begin('c', 3);
    t.throws(() => begin('a', 4), /runs a, b, c with 3 cpu/);
  }
  {
    const { ledger, begin } = start();
    for (const leaseId of ['a', 'b']) ledger.leaseStarting(leaseId, 'n', { resources: { gpu: RESOURCE_SCALE * 0.6 }, bundle: null });
    for (const leaseId of ['a', 'b']) ledger.leaseCommanded(leaseId, 'n', [0]);
    begin('a', 1);
    t.throws(() => begin('b', 2), /with 1.2 gpu/);
  }
  {
    const { ledger, begin } = start();
    ledger.leaseStarting('a', 'n', { resources: { cpu: RESOURCE_SCALE }, bundle: null });
    ledger.ended(begin('a', 1));
    t.throws(() => begin('a', 1), /2th time, with 0 retries/);
    t.throws(() => begin('a', 77), /nobody submitted it/);
  }
});

t.test('percentiles of samples', async (t) => {
  const samples = new Samples();
  t.same(samples.percentiles([0.5]), [0]);
  for (let value = 5000; value > 0; value--) samples.add(value);
  t.same(samples.percentiles([0, 0.5, 0.99, 1]), [1, 2500, 4950, 5000]);
});
