/**
 * Resource arithmetic in fixed point: every amount is an integer count of 1/10000, so that a third of a
 * GPU taken three times and given back three times leaves exactly nothing behind.
 */
import { MusterError } from './errors.js';
import { parseSizeBytes } from './units.js';

/** Amounts by resource name (`cpu`, `gpu`, `memory` in MiB, or any custom name), in units of 1/10000. Absent means 0. */
export type ResourceSet = Readonly<Record<string, number>>;

/** What users write: `{ cpus: 1, gpus: 0.5, memory: '2GiB', resources: { tpu: 1 } }`. */
export interface ResourceOptions {
  readonly cpus?: number;
  readonly gpus?: number;
  readonly memory?: number | string;
  readonly resources?: Readonly<Record<string, number>>;
}

/** Fixed-point units in one whole cpu, gpu, MiB or custom resource. */
export const RESOURCE_SCALE = 10_000;
const RESOURCE_MAX = Number.MAX_SAFE_INTEGER / RESOURCE_SCALE;
const MEMORY_UNIT_BYTES = 2 ** 20;
const RESERVED = new Set(['cpu', 'gpu', 'memory']);

/** As users write them. */
const OPTION_NAMES: Readonly<Record<string, string>> = { cpu: 'cpus', gpu: 'gpus', memory: 'memory (in MiB)' };

function toFixed(name: string, amount: number): number {
  if (!Number.isFinite(amount) || amount < 0 || amount > RESOURCE_MAX) {
    throw new MusterError('INVALID_ARGUMENT', { what: `${OPTION_NAMES[name] ?? name}: ${amount}`, want: `an amount from 0 to ${RESOURCE_MAX}` });
  }
  if (name === 'gpu' && amount > 1 && !Number.isInteger(amount)) {
    throw new MusterError('INVALID_ARGUMENT', { what: `gpus: ${amount}`, want: 'a fraction below 1, or a whole number' });
  }
  return Math.ceil(amount * RESOURCE_SCALE - 1e-6); // a rounding error of the multiplication is no more demand
}

/** Reads users' resource options. Zero amounts are left out. @throws MusterError INVALID_ARGUMENT */
export function parseResources(options: ResourceOptions): ResourceSet {
  const set: Record<string, number> = {};
  const put = (name: string, amount: number | undefined): void => {
    const fixed = amount === undefined ? 0 : toFixed(name, amount);
    if (fixed > 0) set[name] = fixed;
  };
  put('cpu', options.cpus);
  put('gpu', options.gpus);
  put('memory', options.memory === undefined ? undefined : parseSizeBytes(options.memory) / MEMORY_UNIT_BYTES);
  for (const [name, amount] of Object.entries(options.resources ?? {})) {
    if (RESERVED.has(name) || !/^[a-z][\w.:-]{0,62}$/i.test(name)) {
      throw new MusterError('INVALID_ARGUMENT', { what: `the resource name '${name}'`, want: `a name of letters, digits, '.', ':', '_' or '-' other than cpu, gpu and memory` });
    }
    put(name, amount);
  }
  return set;
}

/** Whether `demand` fits into `available`. */
export function fits(available: ResourceSet, demand: ResourceSet): boolean {
  for (const name in demand) if ((available[name] ?? 0) < demand[name]!) return false;
  return true;
}

/** The names and amounts of `demand` that `available` lacks. Empty when it fits. */
export function shortage(available: ResourceSet, demand: ResourceSet): ResourceSet {
  const lack: Record<string, number> = {};
  for (const name in demand) {
    const missing = demand[name]! - (available[name] ?? 0);
    if (missing > 0) lack[name] = missing;
  }
  return lack;
}

/** `a + b`, as a new set. */
export function addResources(a: ResourceSet, b: ResourceSet): ResourceSet {
  const sum: Record<string, number> = { ...a };
  for (const name in b) sum[name] = (sum[name] ?? 0) + b[name]!;
  return sum;
}

/** `a - b`, as a new set; amounts may become negative, which the caller must rule out or mean. */
export function subtractResources(a: ResourceSet, b: ResourceSet): ResourceSet {
  const rest: Record<string, number> = { ...a };
  for (const name in b) rest[name] = (rest[name] ?? 0) - b[name]!;
  return rest;
}

/** An amount in whole units, for people and programs: `memory` in bytes, everything else as users write it. */
export function wholeAmount(name: string, fixed: number): number {
  return name === 'memory' ? Math.round((fixed / RESOURCE_SCALE) * MEMORY_UNIT_BYTES) : fixed / RESOURCE_SCALE;
}

/** Writes `{cpu: 20000, memory: …}` as `2 cpu, 1 GiB memory`; the empty set as `nothing`. */
export function formatResources(set: ResourceSet): string {
  const parts = Object.entries(set).map(([name, fixed]) =>
    name === 'memory' ? `${Number((fixed / RESOURCE_SCALE / 1024).toFixed(2))} GiB memory` : `${fixed / RESOURCE_SCALE} ${name}`);
  return parts.length ? parts.join(', ') : 'nothing';
}
