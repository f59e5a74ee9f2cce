/** What the processes of the cluster take for their own work. In the simulation that is no time unless a scenario says how long, measured on real ones. */
import type { Fields } from './fields.js';

/** Service times, in milliseconds. All zero: only users' code takes time. */
export interface Costs {
  /** Of an owner, for one task: to submit it, and to take in its result. */
  readonly ownerSubmitMs: number;
  readonly ownerResultMs: number;
  /** Of an owner, for each frame that arrives. */
  readonly ownerFrameMs: number;
  /** Of the head, for a message of a node or a client. */
  readonly headMessageMs: number;
  /** Of a daemon, for a message of the head. */
  readonly daemonMessageMs: number;
  /** Of a worker, for one task beside its function. */
  readonly workerTaskMs: number;
}

/** Nothing takes time but users' code. */
export const NO_COSTS: Costs = { ownerSubmitMs: 0, ownerResultMs: 0, ownerFrameMs: 0, headMessageMs: 0, daemonMessageMs: 0, workerTaskMs: 0 };

/** Reads `[costs]`. @throws MusterError INVALID_ARGUMENT */
export function readCosts(fields: Fields): Costs {
  const costs: Costs = {
    ownerSubmitMs: fields.durationMs('owner-submit', '0ms'), ownerResultMs: fields.durationMs('owner-result', '0ms'),
    ownerFrameMs: fields.durationMs('owner-frame', '0ms'), headMessageMs: fields.durationMs('head-message', '0ms'),
    daemonMessageMs: fields.durationMs('daemon-message', '0ms'), workerTaskMs: fields.durationMs('worker-task', '0ms'),
  };
  fields.end();
  return costs;
}
