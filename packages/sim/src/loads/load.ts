/** What the workloads of scenario files have in common: how they begin, what they count, and what must be true of them in the end. */
import type { Random } from '@muster/base';
import type { SimCluster } from '../cluster.js';
import type { CodeContext } from '../code-context.js';
import type { Library } from '../library.js';
import type { Program } from '../program.js';
import type { Costs } from '../scenario-file/costs.js';

/** What a load can touch while it runs. */
export interface Stage {
  readonly cluster: SimCluster;
  readonly costs: Costs;
  /** Whether anything goes wrong on purpose, so that failures of the system may be seen. */
  readonly hasFaults: boolean;
  /** Starts a program on the machine of the drivers, which faults spare. */
  readonly driver: (program: (code: CodeContext) => Program) => void;
  /** The time from a task's submission to its first step. */
  readonly waited: (waitMs: number) => void;
}

/** What has become of the work of one load: tasks, or calls. */
export interface Tally {
  /** In all; known from the beginning. */
  planned: number;
  submitted: number;
  done: number;
  /** Failed for good, for a cause that faults excuse. */
  failed: number;
}

/** One workload. */
export interface Load {
  readonly name: string;
  readonly tally: Tally;
  /** When the last of it comes, after the beginning, as far as that is known. */
  readonly lastArrivalMs: number;
  /** What it calls. The names are its own. */
  readonly library: Library;
  /** Starts its drivers. */
  start(stage: Stage): void;
  /** Called when all drivers have ended. @throws Violation */
  check(): void;
}

/** What a workload is made for. */
export interface LoadOptions {
  /** Unlike those of the others. */
  readonly name: string;
  /** What it draws, it draws from the run's seed. */
  readonly random: Random;
  /** Nodes that there are to begin with, without the drivers'. */
  readonly nodeCount: number;
}

/** Makes a workload for one run. */
export type LoadPlan = (options: LoadOptions) => Load;

export const newTally = (planned: number): Tally => ({ planned, submitted: 0, done: 0, failed: 0 });
