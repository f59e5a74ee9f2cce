/** All workloads with all mixtures of faults. */
import { FAULTS, type Faults } from './faults.js';
import type { Workload } from './scenario.js';
import { actors } from './workloads/actors.js';
import { borrowers } from './workloads/borrowers.js';
import { cancellation } from './workloads/cancellation.js';
import { chains } from './workloads/chains.js';
import { departures } from './workloads/departures.js';
import { devices } from './workloads/devices.js';
import { gangs } from './workloads/gangs.js';
import { generators } from './workloads/generators.js';
import { groups } from './workloads/groups.js';
import { meetings } from './workloads/meetings.js';
import { mixture } from './workloads/mixture.js';
import { nested } from './workloads/nested.js';
import { pressure } from './workloads/pressure.js';
import { queues } from './workloads/queues.js';
import { tasks } from './workloads/tasks.js';
import { tenants } from './workloads/tenants.js';

/** A workload with a mixture of faults. */
export interface Scenario {
  /** `workload/faults` */
  readonly name: string;
  readonly workload: Workload;
  readonly faults: Faults;
}

const WORKLOADS: readonly Workload[] = [tasks, nested, chains, actors, mixture, cancellation, tenants, departures, borrowers, pressure, devices, groups, gangs, queues, generators, meetings];

/** All of them. */
export const SCENARIOS: readonly Scenario[] = WORKLOADS.flatMap((workload) => FAULTS.map((faults) => ({ name: `${workload.name}/${faults.name}`, workload, faults })));

/** The scenarios of a name: one, or all of a workload. */
export function findScenario(name: string): readonly Scenario[] {
  const found = SCENARIOS.filter((scenario) => scenario.name === name || scenario.workload.name === name || scenario.faults.name === name);
  if (found.length === 0) throw new Error(`there is no scenario '${name}'; there are ${SCENARIOS.map((scenario) => scenario.name).join(', ')}`);
  return found;
}

/** What replays a simulation and prints its history. */
export const replayCommand = (name: string, seed: number): string => `node packages/sim/dist/run.js --scenario ${name} --seed ${seed} --trace`;
