/** Tasks and objects are known to the processes that own them, and those may be busy with users' code. */
import { printNote } from './cluster-options.js';

const NAMED_MAX = 5;

/** Says whose rows are missing. */
export function noteBusyOwners(busy: readonly string[]): void {
  if (busy.length === 0) return;
  const named = busy.slice(0, NAMED_MAX).join(', ') + (busy.length > NAMED_MAX ? ' and others' : '');
  printNote(`${busy.length} ${busy.length === 1 ? 'process was' : 'processes were'} busy and did not answer: ${named}. What they own is not shown.`);
}
