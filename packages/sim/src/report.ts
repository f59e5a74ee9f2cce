/** What a run of a scenario came to, as data and as text. */
import { formatDurationMs } from '@muster/base';
import type { SimCluster } from './cluster.js';
import type { Load } from './loads/load.js';
import type { Samples } from './samples.js';
import type { ScenarioFile } from './scenario-file/scenario-file.js';
import type { Storm } from './storm.js';

/** The figures of one run. Times of the simulated cluster are virtual. */
export interface Report {
  readonly scenario: string;
  readonly seed: number;
  readonly nodes: number;
  /** What rule was broken; null when all were kept. */
  readonly failure: string | null;
  /** What runs the same again. */
  readonly replay: string;
  readonly virtualMs: number;
  readonly wallMs: number;
  /** From the first arrival until the last task was done. */
  readonly workMs: number;
  readonly tasks: { readonly planned: number; readonly submitted: number; readonly done: number; readonly failed: number };
  /** Tasks done in a second of work. */
  readonly tasksPerSecond: number;
  /** From a task's submission to its first step. */
  readonly waitMs: { readonly p50: number; readonly p90: number; readonly p99: number; readonly max: number };
  /** The shares of the cluster's resources that were leased to tasks that ran; null where there are none. */
  readonly utilisation: { readonly cpu: number | null; readonly gpu: number | null };
  /** The share of its time that the head, and the busiest driver, took for their own work; 0 unless the scenario has costs. */
  readonly busy: { readonly head: number; readonly driver: number };
  readonly faults: Readonly<Record<string, number>>;
  readonly messages: number;
  readonly events: number;
  /** Equal for equal histories. */
  readonly hash: string;
}

/** What is reported on. */
interface Run {
  readonly scenario: ScenarioFile;
  readonly options: { readonly seed: number; readonly nodeCount?: number };
  readonly cluster: SimCluster;
  readonly loads: readonly Load[];
  readonly waits: Samples;
  readonly storm: Storm | null;
  readonly beganMs: number | null;
  readonly endedMs: number | null;
  readonly wallMs: number;
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** The figures of a run that has ended, well or not. */
export function makeReport(run: Run, failure: Error | null): Report {
  const { scenario, options, cluster, loads, storm, waits, wallMs } = run;
  const { world } = cluster;
  const workMs = run.beganMs === null ? 0 : (run.endedMs ?? cluster.nowMs) - run.beganMs;
  const tallies = loads.map((load) => load.tally);
  const done = sum(tallies.map((tally) => tally.done));
  const [p50 = 0, p90 = 0, p99 = 0, max = 0] = waits.percentiles([0.5, 0.9, 0.99, 1]);
  const busy = (spentMs: number): number => (workMs > 0 ? spentMs / workMs : 0);
  return {
    scenario: scenario.name, seed: options.seed, nodes: options.nodeCount ?? sum(scenario.groups.map((group) => group.count)),
    failure: failure && world.trace.shorten(failure.message), replay: `npx cluster sim ${scenario.fileName} --seed ${options.seed}`,
    virtualMs: cluster.nowMs, wallMs, workMs,
    tasks: { planned: sum(tallies.map((tally) => tally.planned)), submitted: sum(tallies.map((tally) => tally.submitted)), done, failed: sum(tallies.map((tally) => tally.failed)) },
    tasksPerSecond: workMs > 0 ? (done / workMs) * 1000 : 0, waitMs: { p50, p90, p99, max },
    utilisation: { cpu: utilisation(run, 'cpu', workMs), gpu: utilisation(run, 'gpu', workMs) },
    busy: { head: busy(cluster.head.process.spentMs), driver: busy(Math.max(0, ...cluster.drivers.map((driver) => driver.process.spentMs))) },
    faults: { ...storm?.counts }, messages: world.network.messageCount, events: world.trace.lineCount, hash: world.trace.hash,
  };
}

/** Of the resources that were there while there was work. */
function utilisation({ cluster, endedMs }: Run, name: string, workMs: number): number | null {
  const { usage, capacity } = cluster.world.ledger;
  const mean = capacity.unitSeconds(name) / (cluster.nowMs / 1000);
  if (!(mean > 0) || workMs <= 0 || endedMs === null) return null;
  return usage.unitSeconds(name) / (mean * (workMs / 1000));
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
const count = (number: number): string => Math.round(number).toLocaleString('en-US');

/** The report for people: some lines. */
export function formatReport(report: Report): string {
  const { tasks, waitMs, utilisation: { cpu, gpu }, faults, busy } = report;
  const rows: [string, string][] = [
    ['tasks', `${count(tasks.done)} done${tasks.failed > 0 ? `, ${count(tasks.failed)} failed for good` : ''}, of ${count(tasks.planned)}, on ${count(report.nodes)} nodes`],
    ['time', `${formatDurationMs(report.workMs)} of work, ${formatDurationMs(report.virtualMs)} in all; ${formatDurationMs(report.wallMs)} on the wall clock`],
    ['throughput', `${report.tasksPerSecond < 10 ? report.tasksPerSecond.toFixed(2) : count(report.tasksPerSecond)} tasks/s`],
    ['waiting', `p50 ${duration(waitMs.p50)}, p90 ${duration(waitMs.p90)}, p99 ${duration(waitMs.p99)}, longest ${duration(waitMs.max)}`],
    ['in use', [...(cpu === null ? [] : [`cpus ${percent(cpu)}`]), ...(gpu === null ? [] : [`gpus ${percent(gpu)}`])].join(', ') || 'nothing'],
  ];
  if (busy.head > 0 || busy.driver > 0) rows.push(['busy', `head ${percent(busy.head)}, busiest driver ${percent(busy.driver)}`]);
  const kinds = Object.entries(faults);
  if (kinds.length > 0) rows.push(['faults', kinds.map(([kind, times]) => `${kind} ${times}`).join(', ')]);
  rows.push(['messages', `${count(report.messages)}, ${count(report.events)} events; history ${report.hash}`]);
  const title = `${report.scenario}, seed ${report.seed}: ${report.failure === null ? 'all rules kept' : 'a rule was broken'}`;
  const text = [title, ...rows.map(([name, value]) => `  ${name.padEnd(10)} ${value}`)];
  if (report.failure !== null) text.push(`  broken     ${report.failure}`, `  replay     ${report.replay}`);
  return text.join('\n');
}

const duration = (durationMs: number): string => (durationMs < 10 ? `${durationMs.toFixed(2)} ms` : formatDurationMs(durationMs));
