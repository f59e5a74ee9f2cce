/** No scheduling: every trial runs to its end. */
import type { Decision, SchedulerDefinition } from '../scheduler.js';

const GOES_ON: Decision = { kind: 'continue', reason: 'fixed: every trial runs to its end' };

/** Lets every trial run to its end. What an experiment does where no scheduler is given. */
export function fixed(): SchedulerDefinition {
  return { name: 'fixed', create: () => ({ start: () => {}, report: () => GOES_ON, end: () => {}, state: () => null }) };
}
