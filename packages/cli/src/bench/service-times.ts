/**
 * `cluster bench service-times`: the time of a processor that owner, worker, head and daemon take for their own work, for the `[costs]` of a scenario file.
 * Measured on a cluster of its own with one cpu, as processor time and not as time that passes, so that a busy machine disturbs it little.
 */
import { readFileSync } from 'node:fs';
import { get, init, remote, shutdown } from '@muster/core';
import type { BenchRecord } from './measure.js';

const WARM_UP_TASKS = 50_000;
const TASKS = 300_000;
/** Each of these tasks travels in frames of its own, because it takes longer than a worker holds ahead. */
const LONG_TASKS = 1000;
const LONG_TASK_MS = 2;
const LEASES = 500;
const ROUND_TRIPS = 3000;
/** Of one lease, from the wish to its end: three of the owner, two of the daemon at the head; two of the head at the daemon. */
const MESSAGES_PER_LEASE = 7;
const CLOCK_TICKS_PER_S = 100;

/** Processor time that a process has taken. Source: proc_pid_stat(5), fields 14 and 15. */
function cpuUs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
  return ((Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_S) * 1e6;
}

function ownCpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
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
  const workerBeforeUs = cpuUs(worker);
  const beginUs = ownCpuUs();
  const refs = Array.from({ length: TASKS }, (_, x) => noOp.remote(x));
  const submittedUs = ownCpuUs();
  await get(refs);
  const endUs = ownCpuUs();
  return { submitUs: (submittedUs - beginUs) / TASKS, resultUs: (endUs - submittedUs) / TASKS, workerUs: (cpuUs(worker) - workerBeforeUs) / TASKS };
}

/** Of the owner, for one task that is alone in its frames. */
async function longTaskUs(): Promise<number> {
  await busy(LONG_TASK_MS);
  const beginUs = ownCpuUs();
  await get(Array.from({ length: LONG_TASKS }, () => busy.remote(LONG_TASK_MS)));
  return (ownCpuUs() - beginUs) / LONG_TASKS;
}

/** Of head and daemon together, for one lease. There is one cpu: each call takes the lease from the other demand. */
async function leaseUs(): Promise<number> {
  const pid = nodePid();
  const [onA, onB] = [noOp.options({ resources: { a: 1 } }), noOp.options({ resources: { b: 1 } })];
  await onA(0);
  await onB(0);
  const beforeUs = cpuUs(pid);
  for (let lease = 0; lease < LEASES; lease += 2) {
    await onA(lease);
    await onB(lease);
  }
  return (cpuUs(pid) - beforeUs) / LEASES;
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
