/** Reads what an administrator writes of the queues: JSON, an array of queues. See docs/queues.md. */
import { makeError, parseResources, type ResourceOptions, type ResourceSet } from '@muster/base';
import { PRIORITY_MAX, QUEUES_MAX } from './machine/limits.js';
import { PLAIN_QUEUE, type QueueRules } from './machine/queues.js';

const KEYS = ['name', 'weight', 'quota', 'maxPriority', 'gracePeriodMs', 'isDefault'];
const QUOTA_KEYS = ['cpus', 'gpus', 'memory', 'resources'];
const WEIGHT_MAX = 1e6;
const GRACE_PERIOD_MAX_MS = 24 * 3_600_000;

/** @throws MusterError INVALID_ARGUMENT that says which queue is wrong, and what is wanted */
export function readQueueFile(text: string): readonly QueueRules[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw invalid('the queues', `JSON (${(error as Error).message})`);
  }
  if (!Array.isArray(parsed) || parsed.length === 0) throw invalid('the queues', 'a JSON array such as [{ "name": "research", "weight": 2 }]');
  if (parsed.length > QUEUES_MAX) throw invalid(`${parsed.length} queues`, `at most ${QUEUES_MAX}`);
  const queues = parsed.map(readQueue);
  for (const [index, { name }] of queues.entries()) if (queues.findIndex((other) => other.name === name) !== index) throw invalid(`a second queue named '${name}'`, 'named otherwise');
  if (queues.filter((queue) => queue.isDefault).length > 1) throw invalid('a second queue with isDefault', 'the only one');
  return queues.some((queue) => queue.isDefault) ? queues : queues.map((queue) => (queue.name === 'default' ? { ...queue, isDefault: true } : queue));
}

function readQueue(queue: unknown, index: number): QueueRules {
  const what = `queue ${index + 1}`;
  checkKeys(what, queue, KEYS);
  const { name, weight, quota, maxPriority, gracePeriodMs, isDefault } = { ...PLAIN_QUEUE, ...(queue as object) } as Readonly<Record<keyof QueueRules, unknown>>;
  if (typeof name !== 'string' || !/^[\w.-]{1,64}$/.test(name)) throw invalid(`the name of ${what}`, "a text of at most 64 letters, digits, '.', '_' and '-'");
  const check = (isValid: boolean, field: string, want: string): void => {
    if (!isValid) throw invalid(`${field} of the queue ${name}`, want);
  };
  check(isNumber(weight) && weight > 0 && weight <= WEIGHT_MAX, 'weight', `a number above 0, at most ${WEIGHT_MAX}`);
  check(maxPriority === null || (Number.isInteger(maxPriority) && Math.abs(maxPriority as number) <= PRIORITY_MAX), 'maxPriority', `a whole number from ${-PRIORITY_MAX} to ${PRIORITY_MAX}`);
  check(isNumber(gracePeriodMs) && gracePeriodMs >= 0 && gracePeriodMs <= GRACE_PERIOD_MAX_MS, 'gracePeriodMs', `a number of milliseconds from 0 to ${GRACE_PERIOD_MAX_MS}`);
  check(typeof isDefault === 'boolean', 'isDefault', 'true or false');
  return { name, weight, quota: readQuota(`quota of the queue ${name}`, quota), maxPriority, gracePeriodMs, isDefault } as QueueRules;
}

/** As users write resources, and with zeros: nothing of that is allowed. */
function readQuota(what: string, quota: unknown): ResourceSet {
  checkKeys(what, quota, QUOTA_KEYS);
  const options = quota as ResourceOptions;
  if (typeof (options.resources ?? {}) !== 'object') throw invalid(`resources in the ${what}`, 'an object of amounts');
  const zeros = [['cpu', options.cpus], ['gpu', options.gpus], ['memory', options.memory], ...Object.entries(options.resources ?? {})].filter(([, amount]) => amount === 0);
  return { ...Object.fromEntries(zeros.map(([name]) => [name, 0])), ...parseResources(options) };
}

function checkKeys(what: string, value: unknown, keys: readonly string[]): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(what, `an object with some of ${keys.join(', ')}`);
  for (const key of Object.keys(value)) if (!keys.includes(key)) throw invalid(`${what} with '${key}'`, `made of ${keys.join(', ')}`);
}

const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);

const invalid = (what: string, want: string): Error => makeError('INVALID_ARGUMENT', { what, want });
