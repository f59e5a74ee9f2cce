/** What all parts of one simulation share. */
import type { Random } from '@muster/base';
import type { VirtualClock } from './clock.js';
import type { Ledger } from './ledger.js';
import type { Library } from './library.js';
import type { Network } from './network.js';
import type { Costs } from './scenario-file/costs.js';
import type { Trace } from './trace.js';

/** The surroundings of every simulated process. */
export interface World {
  readonly clock: VirtualClock;
  readonly trace: Trace;
  readonly network: Network;
  readonly ledger: Ledger;
  /** The functions and classes that programs may use. */
  readonly library: Library;
  /** What processes take for their own work. */
  readonly costs: Costs;
  /** What users' code and the machines draw from. */
  readonly workload: Random;
  /** What goes wrong, and how long the network takes. */
  readonly faults: Random;
}

/** Records something that happens now. */
export function record(world: World, line: string): void {
  world.trace.record(world.clock.nowMs(), line);
}
