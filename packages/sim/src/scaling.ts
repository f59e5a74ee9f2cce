/** How a job's throughput grows with the cluster: a scenario with `[scaling]`, run at one number of nodes after the other. */
import { play, type PlayOptions } from './play.js';
import type { Report } from './report.js';
import type { ScenarioFile } from './scenario-file/scenario-file.js';

/** One point of the curve. */
export interface ScalingPoint {
  readonly nodes: number;
  readonly tasksPerSecond: number;
  /** Throughput for each node, compared with the first point. */
  readonly efficiency: number;
  /** The share of its time that each spent on its own work. */
  readonly headBusy: number;
  readonly driverBusy: number;
  readonly wallMs: number;
}

/** The curve. */
export interface ScalingReport {
  readonly scenario: string;
  readonly seed: number;
  readonly points: readonly ScalingPoint[];
  /** The first number of nodes at which efficiency falls below {@link BEND_EFFICIENCY}; null when it never does. */
  readonly bendsAtNodes: number | null;
  readonly failure: string | null;
}

/** A curve bends where a node brings less than this share of what the first ones brought. */
export const BEND_EFFICIENCY = 0.8;

/** Runs all points, or up to the first one that breaks a rule. */
export function scale(scenario: ScenarioFile, options: PlayOptions & { readonly onPoint: (point: ScalingPoint) => void }): ScalingReport {
  const points: ScalingPoint[] = [];
  let failure: string | null = null;
  for (const nodeCount of scenario.scalingNodes) {
    const report = play(scenario, { ...options, nodeCount });
    failure = report.failure && `${report.failure}, at ${nodeCount} nodes`;
    if (failure !== null) break;
    const point = pointOf(report, points[0]);
    points.push(point);
    options.onPoint(point);
  }
  return { scenario: scenario.name, seed: options.seed, points, bendsAtNodes: points.find(({ efficiency }) => efficiency < BEND_EFFICIENCY)?.nodes ?? null, failure };
}

function pointOf({ nodes, tasksPerSecond, busy, wallMs }: Report, first: ScalingPoint | undefined): ScalingPoint {
  const efficiency = first === undefined ? 1 : tasksPerSecond / nodes / (first.tasksPerSecond / first.nodes);
  return { nodes, tasksPerSecond, efficiency, headBusy: busy.head, driverBusy: busy.driver, wallMs };
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

/** The heading of the lines that {@link formatPoint} makes. */
export const SCALING_HEADING = 'nodes      tasks/s  efficiency   head busy  driver busy';

/** One point as a line. */
export function formatPoint({ nodes, tasksPerSecond, efficiency, headBusy, driverBusy }: ScalingPoint): string {
  const cells = [String(nodes).padStart(5), Math.round(tasksPerSecond).toLocaleString('en-US').padStart(13), percent(efficiency).padStart(12), percent(headBusy).padStart(12), percent(driverBusy).padStart(13)];
  return cells.join('');
}

/** What the curve says, in a sentence. */
export function formatScaling({ bendsAtNodes, failure }: ScalingReport): string {
  if (failure !== null) return `a rule was broken: ${failure}`;
  return bendsAtNodes === null ? `efficiency stays above ${percent(BEND_EFFICIENCY)}` : `the curve bends at ${bendsAtNodes} nodes: efficiency falls below ${percent(BEND_EFFICIENCY)}`;
}
