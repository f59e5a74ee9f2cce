/** Between base's values and their forms in messages. */
import { errorFromWire, errorToWire, makeError, MusterError, progressOf, type DeathCause, type NodeId, type ResourceSet } from '@muster/base';
import type { Death, Failure, Placement, Resources } from './generated/messages.js';

/** Anywhere. */
export const NO_PLACEMENT: Placement = { spread: false, labels: [], groupId: '', bundle: 0, capturesChildren: false };

export function deathToMessage(cause: DeathCause): Death {
  const blank: Death = { kind: cause.kind, code: 0, signal: '', detail: '', nodeId: '', stderrTail: 'stderrTail' in cause ? (cause.stderrTail ?? '') : '', ...progressToMessage(cause) };
  switch (cause.kind) {
    case 'exit': return { ...blank, code: cause.code };
    case 'signal': return { ...blank, signal: cause.signal };
    case 'out-of-memory': return { ...blank, detail: cause.detail };
    case 'node-lost': return { ...blank, detail: cause.detail, nodeId: cause.nodeId };
    case 'killed': return { ...blank, detail: cause.reason };
    case 'preempted': return { ...blank, detail: cause.reason };
    case 'start-failed': return { ...blank, detail: cause.detail };
  }
}

function progressToMessage(cause: DeathCause): Pick<Death, 'progress' | 'severedTasks'> {
  const { startedTasks, severedTasks = 0 } = progressOf(cause);
  return startedTasks === undefined ? { progress: 0, severedTasks: 0 } : { progress: startedTasks + 1, severedTasks };
}

export function deathFromMessage(death: Death): DeathCause {
  const stderrTail = death.stderrTail || undefined;
  const progress = death.progress > 0 ? { startedTasks: death.progress - 1, severedTasks: death.severedTasks } : {};
  switch (death.kind) {
    case 'exit': return { kind: 'exit', code: death.code, stderrTail, ...progress };
    case 'signal': return { kind: 'signal', signal: death.signal, stderrTail, ...progress };
    case 'out-of-memory': return { kind: 'out-of-memory', detail: death.detail, stderrTail, ...progress };
    case 'node-lost': return { kind: 'node-lost', nodeId: death.nodeId as NodeId, detail: death.detail };
    case 'killed': return { kind: 'killed', reason: death.detail, ...progress };
    case 'preempted': return { kind: 'preempted', reason: death.detail, ...progress };
    case 'start-failed': return { kind: 'start-failed', detail: death.detail, stderrTail };
    default: throw makeError('PROTOCOL', { what: 'a peer', cause: `unknown cause of death '${death.kind}'` });
  }
}

export function failureToMessage(error: unknown): Failure {
  return errorToWire(error instanceof MusterError ? error : makeError('INTERNAL', { what: String((error as Error)?.stack ?? error) }));
}

export const failureFromMessage = (failure: Failure): MusterError => errorFromWire(failure);

export const resourcesToMessage = (set: ResourceSet): Resources => ({ amounts: set });

/** An absent message is the empty set. @throws MusterError PROTOCOL when an amount is no whole number of 1/10000 or is negative. */
export function resourcesFromMessage(resources: Resources | null): ResourceSet {
  const amounts = resources?.amounts ?? {};
  for (const name in amounts) {
    const amount = amounts[name]!;
    if (!Number.isSafeInteger(amount) || amount < 0) throw makeError('PROTOCOL', { what: 'a peer', cause: `the resource amount ${name}: ${amount}` });
  }
  return amounts;
}
