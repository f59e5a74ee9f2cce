/**
 * `cluster bench service-times`: the time of a processor that owner, worker, head and daemon take for their own work, for the `[costs]` of a scenario file.
 * Measured on a cluster of its own with one cpu, as processor time and not as time that passes, so that a busy machine disturbs it little.
 */
import { readFileSync } from 'node:fs';
import { get, init, remote, shutdown } from '@muster/core';
import type { BenchRecord } from './measure.js';

const WARM_UP_TASKS = 50_000;
const TASKS = 20_000;
/** Each of these tasks travels in frames of its own, because it takes longer than a worker holds ahead. */
const LONG_TASKS = 25;
const LONG_TASK_MS = 2;
const LEASES = 20;
const BATCHES = 30;
/** Of the batches of a measurement, this share had the machine more for themselves than the one that counts. */
const QUIET_SHARE = 0.1;
const ROUND_TRIPS = 3000;
/** Of one lease, from the wish to its end: three of the owner, two of the daemon at the head; two of the head at the daemon. */
const MESSAGES_PER_LEASE = 7;

/** What the main thread of a process has had of a processor. Source: the kernel's sched-stats, the first field, in nanoseconds. */
function cpuUs(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1000;
}

/** What this process has had. */
function ownCpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** The cost of one item in a quiet batch. `run` does a batch and returns the cost of its items together. */
async function quiet(items: number, run: () => Promise<number>): Promise<number> {
  const costs: number[] = [];
  for (let batch = 0; batch < BATCHES; batch++) costs.push(await run() / items);
  return costs.sort((a, b) => a - b)[Math.floor(BATCHES * QUIET_SHARE)]!;
}

/** The process of the head and its daemon: the one that the driver has started. */
function nodePid(): number {
  const [pid] = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').trim().split(' ');
  return Number(pid);
}

const noOp = remote((x: number) => x);
const pidOfWorker = remote(() => process.pid);
const busy = remote((durationMs: number) => {
  const endMs = performance.now() + durationMs;
  while (performance.now() < endMs);
});

/** Runs the measurements, in less than a minute. */
export async function runServiceTimes(report: (record: BenchRecord) => void): Promise<void> {
  await init({ cpus: 1, resources: { a: 1, b: 1 }, logs: false });
  try {
    const tell = (name: string, value: number): void => report({ name, value, unit: 'us', better: 'lower' });
    await get(Array.from({ length: WARM_UP_TASKS }, (_, x) => noOp.remote(x)));
    const { submitUs, resultUs, workerUs } = await manyTasks();
    tell('owner-submit', submitUs);
    tell('owner-result', resultUs);
    tell('owner-frame', Math.max(0, await longTaskUs() - submitUs - resultUs));
    tell('worker-task', workerUs);
    const messageUs = await leaseUs() / MESSAGES_PER_LEASE;
    tell('head-message', messageUs);
    tell('daemon-message', messageUs);
    tell('latency', await latencyUs());
  } finally {
    await shutdown();
  }
}

/** Of one task among many, on each side. */
async function manyTasks(): Promise<{ submitUs: number; resultUs: number; workerUs: number }> {
  const worker = await pidOfWorker();
  const xs = Array.from({ length: TASKS }, (_, x) => x);
  let submitUs = Infinity;
  let workerUs = Infinity;
  const resultUs = await quiet(TASKS, async () => {
    const workerBeforeUs = cpuUs(worker);
    const beginUs = ownCpuUs();
    const refs = xs.map((x) => noOp.remote(x));
    const submittedUs = ownCpuUs();
    await get(refs);
    submitUs = Math.min(submitUs, (submittedUs - beginUs) / TASKS);
    workerUs = Math.min(workerUs, (cpuUs(worker) - workerBeforeUs) / TASKS);
    return ownCpuUs() - submittedUs;
  });
  return { submitUs, resultUs, workerUs };
}

/** Of the owner, for one task that is alone in its frames. */
async function longTaskUs(): Promise<number> {
  await busy(LONG_TASK_MS);
  return quiet(LONG_TASKS, async () => {
    const beginUs = ownCpuUs();
    await get(Array.from({ length: LONG_TASKS }, () => busy.remote(LONG_TASK_MS)));
    return ownCpuUs() - beginUs;
  });
}

/** Of head and daemon together, for one lease. There is one cpu: each call takes the lease from the other demand. */
async function leaseUs(): Promise<number> {
  const pid = nodePid();
  const [onA, onB] = [noOp.options({ resources: { a: 1 } }), noOp.options({ resources: { b: 1 } })];
  return quiet(LEASES, async () => {
    const beforeUs = cpuUs(pid);
    for (let lease = 0; lease < LEASES; lease += 2) {
      await onA(lease);
      await onB(lease);
    }
    return cpuUs(pid) - beforeUs;
  });
}

/** One way between two processes, half of the shortest tenth of round trips: a busy machine only makes them longer. */
async function latencyUs(): Promise<number> {
  const timesUs: number[] = [];
  for (let trip = 0; trip < ROUND_TRIPS; trip++) {
    const startMs = performance.now();
    await noOp(trip);
    timesUs.push((performance.now() - startMs) * 1000);
  }
  return timesUs.sort((a, b) => a - b)[ROUND_TRIPS / 10]! / 2;
}
