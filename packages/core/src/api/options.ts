/** Users' options, checked and resolved once into what the machine takes. */
import { makeError, parseResources } from '@muster/base';
import { writtenAt } from '@muster/closure';
import type { Demand } from '@muster/protocol';
import type { TaskOptions as MachineOptions } from '../machine/task-spec.js';
import { placementOf } from './placement.js';
import { BUNDLES_MAX } from './placement-group.js';
import type { InitOptions } from './init.js';
import type { CancelOptions, WaitOptions } from './references.js';
import type { ActorOptions, CallOptions, GangOptions, MapOptions, TaskOptions } from './types.js';

const DEFAULT_RETRIES = 3;
const RETRIES_MAX = 100; // the attempt number has seven bits on the wire
const TIMEOUT_END_MS = 2 ** 31; // a timer takes no more
const TASK_KEYS = new Set([
  'cpus', 'gpus', 'memory', 'resources', 'name', 'placement', 'waitForNodes', 'expectedDurationMs', 'retries', 'retryOn', 'timeoutMs', 'signal',
]);
const ACTOR_KEYS = new Set([
  'cpus', 'gpus', 'memory', 'resources', 'name', 'placement', 'waitForNodes', 'expectedDurationMs', 'maxRestarts', 'maxConcurrency', 'maxPendingCalls', 'lifetime',
  'getIfExists',
]);
const GANG_KEYS = new Set([
  'size', 'name', 'cpus', 'gpus', 'memory', 'resources', 'strategy', 'topology', 'labels', 'onFailure', 'maxRestarts', 'maxConcurrency', 'maxPendingCalls', 'timeoutMs', 'waitForNodes',
]);
const ADDRESS = /^(unix:.+|\S+:\d{1,5})$/;
const FAILURE_POLICIES = ['fail', 'restart-all', 'restart-member'];
const CALL_KEYS = new Set(['retries', 'signal']);
const MAP_KEYS = new Set(['window']);
const WAIT_KEYS = new Set(['count', 'timeoutMs']);
const CANCEL_KEYS = new Set(['force', 'graceMs']);
/** What init() asks of the node that it starts: a cluster that runs already has its nodes. */
const OWN_NODE_KEYS = ['cpus', 'gpus', 'memory', 'resources', 'labels', 'objectStore'] as const;
const INIT_KEYS = new Set(['address', 'token', ...OWN_NODE_KEYS, 'logs', 'queue', 'priority']);

/** The first options with the others over them. @throws MusterError INVALID_ARGUMENT for what spreading would silently make nothing of */
export function mergeOptions<Options extends object>(first: Options, others: Options): Options {
  checkObject(others);
  return { ...first, ...others };
}

const isRecord = (value: unknown): value is object => typeof value === 'object' && value !== null && !Array.isArray(value);

function checkObject(options: unknown): void {
  if (!isRecord(options)) {
    throw makeError('INVALID_ARGUMENT', { what: `options: ${String(options)}`, want: 'an object such as { cpus: 2 }' });
  }
}

function checkKeys(options: object, known: ReadonlySet<string>): void {
  checkObject(options);
  for (const key of Object.keys(options)) {
    if (!known.has(key)) throw makeError('INVALID_ARGUMENT', { what: `the option '${key}'`, want: `one of ${[...known].join(', ')}` });
  }
}

function checkInteger(name: string, value: number | undefined, least: number, most = Number.MAX_SAFE_INTEGER): void {
  if (value !== undefined && !(Number.isInteger(value) && value >= least && value <= most)) {
    throw makeError('INVALID_ARGUMENT', { what: `${name}: ${String(value)}`, want: `a whole number from ${least} to ${most}` });
  }
}

function checkTimeout(timeoutMs: number | undefined): void {
  if (timeoutMs !== undefined && !(timeoutMs > 0 && timeoutMs < TIMEOUT_END_MS)) throw makeError('INVALID_ARGUMENT', { what: `timeoutMs: ${timeoutMs}`, want: 'a positive number of milliseconds' });
}

function checkFlag(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'boolean') throw makeError('INVALID_ARGUMENT', { what: `${name}: ${String(value)}`, want: 'true or false' });
}

function checkName(name: unknown): void {
  if (name !== undefined && (typeof name !== 'string' || name === '')) throw makeError('INVALID_ARGUMENT', { what: 'name', want: 'a text that is not empty' });
}

/** @throws MusterError INVALID_ARGUMENT */
export function checkTaskOptions(options: TaskOptions): void {
  checkKeys(options, TASK_KEYS);
  checkInteger('retries', options.retries, 0, RETRIES_MAX);
  checkTimeout(options.timeoutMs);
  checkName(options.name);
  checkInteger('expectedDurationMs', options.expectedDurationMs, 1);
  if (options.signal !== undefined && !(options.signal instanceof AbortSignal)) throw makeError('INVALID_ARGUMENT', { what: 'signal', want: 'an AbortSignal' });
  if (options.retryOn !== undefined && typeof options.retryOn !== 'function') throw makeError('INVALID_ARGUMENT', { what: 'retryOn', want: 'a function of the error' });
  checkFlag('waitForNodes', options.waitForNodes);
  demandOf(options, 1);
}

/** @throws MusterError INVALID_ARGUMENT */
export function checkActorOptions(options: ActorOptions): void {
  checkKeys(options, ACTOR_KEYS);
  checkInteger('maxRestarts', options.maxRestarts, -1, 1e6);
  checkInteger('maxConcurrency', options.maxConcurrency, 1, 1e5);
  checkInteger('maxPendingCalls', options.maxPendingCalls, 1, 1e7);
  checkName(options.name);
  checkInteger('expectedDurationMs', options.expectedDurationMs, 1);
  if (options.lifetime !== undefined && options.lifetime !== 'job' && options.lifetime !== 'detached') {
    throw makeError('INVALID_ARGUMENT', { what: `lifetime: ${String(options.lifetime)}`, want: "'job' or 'detached'" });
  }
  if (options.getIfExists && !options.name) throw makeError('INVALID_ARGUMENT', { what: 'getIfExists', want: 'used with a name' });
  if (options.lifetime === 'detached' && !options.name) throw makeError('INVALID_ARGUMENT', { what: "lifetime: 'detached'", want: 'used with a name, or nobody could find the actor again' });
  checkFlag('waitForNodes', options.waitForNodes);
  demandOf(options, 0);
}

/** @throws MusterError INVALID_ARGUMENT */
export function checkGangOptions(options: GangOptions): void {
  checkKeys(options, GANG_KEYS);
  if (options.size === undefined) throw makeError('INVALID_ARGUMENT', { what: 'a gang without size', want: 'given the number of its members' });
  checkInteger('size', options.size, 1, BUNDLES_MAX);
  const { onFailure = 'fail' } = options;
  if (!FAILURE_POLICIES.includes(onFailure)) throw makeError('INVALID_ARGUMENT', { what: `onFailure: ${String(onFailure)}`, want: `one of ${FAILURE_POLICIES.join(', ')}` });
  if (onFailure === 'fail' && options.maxRestarts !== undefined) throw makeError('INVALID_ARGUMENT', { what: "maxRestarts with onFailure: 'fail'", want: "used with 'restart-all' or 'restart-member'" });
  checkInteger('maxRestarts', options.maxRestarts, -1, 1e6);
  checkInteger('maxConcurrency', options.maxConcurrency, 1, 1e5);
  checkInteger('maxPendingCalls', options.maxPendingCalls, 1, 1e7);
  checkTimeout(options.timeoutMs);
  checkName(options.name);
}

/** @throws MusterError INVALID_ARGUMENT */
export function checkCallOptions(options: CallOptions): void {
  checkKeys(options, CALL_KEYS);
  checkInteger('retries', options.retries, 0, RETRIES_MAX);
}

/** @throws MusterError INVALID_ARGUMENT */
export function checkMapOptions(options: MapOptions): void {
  checkKeys(options, MAP_KEYS);
  checkInteger('window', options.window, 1);
}

/** `most`: how many references there are. @throws MusterError INVALID_ARGUMENT */
export function checkWaitOptions(options: WaitOptions, most: number): void {
  checkKeys(options, WAIT_KEYS);
  const { count = 1, timeoutMs } = options;
  if (!Number.isInteger(count) || count < 1 || count > most) throw makeError('INVALID_ARGUMENT', { what: `count: ${String(count)}`, want: `a whole number from 1 to the ${most} references given` });
  checkDelay('timeoutMs', timeoutMs);
}

/** @throws MusterError INVALID_ARGUMENT */
export function checkCancelOptions(options: CancelOptions): void {
  checkKeys(options, CANCEL_KEYS);
  checkFlag('force', options.force);
  checkDelay('graceMs', options.graceMs);
}

/** @throws MusterError INVALID_ARGUMENT for what is no address of a head */
export function checkAddress(address: unknown): asserts address is string {
  if (typeof address !== 'string' || !ADDRESS.test(address)) throw makeError('INVALID_ARGUMENT', { what: `the address '${String(address)}'`, want: 'HOST:PORT, such as 10.0.0.5:6380' });
}

function checkDelay(name: string, delayMs: number | undefined): void {
  if (delayMs !== undefined && !(typeof delayMs === 'number' && delayMs >= 0 && delayMs < TIMEOUT_END_MS)) throw makeError('INVALID_ARGUMENT', { what: `${name}: ${String(delayMs)}`, want: 'a number of milliseconds' });
}

/**
 * `inherited`: the address that the environment names, empty for none.
 * @throws MusterError INVALID_ARGUMENT for options that init() does not know, or that contradict each other
 */
export function checkInitOptions(options: InitOptions, inherited: string): void {
  checkKeys(options, INIT_KEYS);
  const { address, token, labels = {}, logs, queue, priority } = options;
  if (address !== undefined) checkAddress(address);
  if (token !== undefined && (typeof token !== 'string' || token === '')) throw makeError('INVALID_ARGUMENT', { what: 'token', want: 'a text that is not empty' });
  if (token !== undefined && address === undefined && inherited === '') {
    throw makeError('INVALID_ARGUMENT', { what: 'token without an address', want: 'used with address or MUSTER_ADDRESS: a cluster that init() starts makes its own' });
  }
  const own = ownNodeOptions(options);
  if (address !== undefined && own.length > 0) {
    throw makeError('INVALID_ARGUMENT', { what: `${own.join(', ')} with address: '${address}'`, want: 'left out: a cluster that runs already has what its nodes were started with, and only one that init() starts can be told' });
  }
  if (!isRecord(labels) || Object.values(labels).some((label) => typeof label !== 'string')) throw makeError('INVALID_ARGUMENT', { what: 'labels', want: "texts by name, such as { zone: 'a' }" });
  checkFlag('logs', logs);
  if (queue !== undefined && (typeof queue !== 'string' || queue === '')) throw makeError('INVALID_ARGUMENT', { what: 'queue', want: 'the name of a queue' });
  checkInteger('priority', priority, -(2 ** 31), 2 ** 31 - 1);
}

/** The names of the given options that are for a node of init()'s own. */
export const ownNodeOptions = (options: InitOptions): string[] => OWN_NODE_KEYS.filter((key) => options[key] !== undefined);

/** What the options ask of a place. `capturedBy`: the placement group in which what names no placement runs; empty: none. */
export function demandOf(options: TaskOptions | ActorOptions, defaultCpus: number, capturedBy = ''): Demand {
  const { cpus = defaultCpus, gpus, memory, resources } = options;
  const { waitForNodes = false, expectedDurationMs = 0 } = options;
  const amounts = parseResources({ cpus, gpus, memory, resources });
  return { resources: { amounts }, placement: placementOf(options.placement, capturedBy), waitForNodes, expectedDurationMs };
}

/** A task's options for the machine. */
export function resolveTaskOptions(options: TaskOptions, fn: Function): MachineOptions {
  return {
    name: options.name ?? nameOf(fn), retries: options.retries ?? DEFAULT_RETRIES, retryOn: options.retryOn ?? null,
    timeoutMs: options.timeoutMs ?? 0, streaming: isGenerator(fn),
  };
}

/** What errors, logs and lists call a function or class: by its name, or by where it was written. */
export const nameOf = (fn: Function): string => fn.name || writtenAt(fn) || 'anonymous';

/** Whether the function can only be called with `new`. */
export function isClass(fn: unknown): boolean {
  return typeof fn === 'function' && /^class\b/.test(Function.prototype.toString.call(fn));
}

/** Whether calling the function makes a generator. */
export function isGenerator(fn: unknown): boolean {
  const kind = Object.prototype.toString.call(fn);
  return kind === '[object GeneratorFunction]' || kind === '[object AsyncGeneratorFunction]';
}
