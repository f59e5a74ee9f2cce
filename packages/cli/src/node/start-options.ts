/** The options of `cluster start`: one table, read by the command line and by the processes that become nodes. */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { makeError, parseResources, parseSizeBytes, type ResourceSet } from '@muster/base';
import { readQueueFile, type QueueRules } from '@muster/head';
import { parseAddress, type HostPort } from '../cluster/address.js';
import { machineCpus, machineGpus, machineMemoryBytes } from './machine-resources.js';

export const DEFAULT_PORT = 6380;
export const DEFAULT_HOST = '127.0.0.1';
/** A shorter one would declare nodes dead for one slow garbage collection. */
const NODE_TIMEOUT_MIN_MS = 500;

interface StartOption {
  readonly type: 'string' | 'boolean';
  readonly multiple?: boolean;
  /** What stands for the value in the help. */
  readonly value?: string;
  readonly description: string;
  /** For programs, not for people: left out of the help. */
  readonly isHidden?: boolean;
}

export const START_OPTIONS = {
  head: { type: 'boolean', description: 'start a new cluster, with its head on this machine' },
  address: { type: 'string', value: 'HOST:PORT', description: 'join the cluster of this head' },
  port: { type: 'string', value: 'N', description: `with --head: listen on this port, 0 for any free one (default ${DEFAULT_PORT})` },
  host: { type: 'string', value: 'HOST', description: `listen on this address (default with --head: ${DEFAULT_HOST}, else the one that reaches the head)` },
  'token-file': { type: 'string', value: 'FILE', description: 'with --address: the token of that cluster' },
  cpus: { type: 'string', value: 'N', description: 'what the node offers; 0 runs nothing here (default: those of this machine)' },
  gpus: { type: 'string', value: 'N', description: 'whole GPUs (default: those of this machine)' },
  memory: { type: 'string', value: 'SIZE', description: 'for tasks that ask for it (default: 70% of this machine\'s)' },
  'object-store': { type: 'string', value: 'SIZE', description: 'shared memory for objects (default: 30% of this machine\'s memory)' },
  resources: { type: 'string', multiple: true, value: 'NAME=N', description: 'other things that tasks ask for; repeatable, or several with commas' },
  labels: { type: 'string', multiple: true, value: 'KEY=TEXT', description: 'for placement by labels; repeatable, or several with commas' },
  'node-timeout': { type: 'string', value: 'TIME', description: 'with --head: give up nodes that are silent for this long (default 5s)' },
  queues: { type: 'string', value: 'FILE', description: 'with --head: queues with their weights and quotas, as JSON (see docs/queues.md)' },
  ephemeral: { type: 'boolean', isHidden: true, description: 'live as long as stdin is open' },
  background: { type: 'boolean', isHidden: true, description: 'be the process behind a start in the background' },
} as const satisfies Record<string, StartOption>;

type Options = typeof START_OPTIONS;
/** The options as they were written, by their name in the table. */
export type StartValues = {
  readonly [Name in keyof Options]?: Options[Name] extends { readonly multiple: true } ? readonly string[] : Options[Name]['type'] extends 'boolean' ? boolean : string;
};

/** What kind of node, where it listens, and what it offers: complete. */
export interface NodeSettings {
  readonly role: HeadRole | MemberRole;
  readonly resources: ResourceSet;
  readonly labels: Readonly<Record<string, string>>;
  /** Null: the daemon's default. */
  readonly objectStoreBytes: number | null;
}

/** The head of a new cluster. */
export interface HeadRole {
  readonly kind: 'head';
  /** Null: unix sockets only. */
  readonly listen: HostPort | null;
  /** Null: the head's default. */
  readonly nodeTimeoutMs: number | null;
  /** Empty: there is the default queue alone. */
  readonly queues: readonly QueueRules[];
}

/** A node of a cluster that exists. */
export interface MemberRole {
  readonly kind: 'member';
  /** `host:port`, or `unix:/path` of a cluster on this machine that does not listen on TCP. */
  readonly headAddress: string;
  /** Null: the one that reaches the head. */
  readonly host: string | null;
}

/** Reads the options without the command line's library. @throws TypeError for an unknown one */
export function parseStartArguments(args: readonly string[]): StartValues {
  const options = Object.fromEntries(Object.entries(START_OPTIONS).map(([name, option]: [string, StartOption]) => [name, { type: option.type, multiple: option.multiple ?? false }]));
  return parseArgs({ args: [...args], options }).values as StartValues;
}

/** The options as a command line, for another process to read. */
export function startArguments(values: StartValues): string[] {
  return Object.entries(values).flatMap(([name, value]) => {
    if (typeof value === 'boolean') return value ? [`--${name}`] : [];
    return (typeof value === 'string' ? [value] : value).map((each) => `--${name}=${each}`);
  });
}

/** Makes settings of what was written. @throws MusterError INVALID_ARGUMENT */
export function readStartValues(values: StartValues): NodeSettings {
  const { address } = values;
  if (Boolean(values.head) === (address !== undefined)) throw invalid('cluster start', 'told either --head or --address HOST:PORT');
  for (const name of values.head ? (['token-file'] as const) : (['port', 'node-timeout', 'queues'] as const)) {
    if (values[name] !== undefined) throw invalid(`--${name}`, `used with ${values.head ? '--address' : '--head'}`);
  }
  const cpus = readAmount('--cpus', values.cpus) ?? machineCpus();
  const runsNothing = cpus === 0; // then the defaults of the other resources would invite what runs without cpus
  const gpus = readAmount('--gpus', values.gpus) ?? (runsNothing ? 0 : machineGpus());
  if (!Number.isInteger(gpus)) throw invalid(`--gpus ${gpus}`, 'a whole number');
  const resources = parseResources({
    cpus, gpus, memory: values.memory ?? (runsNothing ? 0 : machineMemoryBytes()),
    resources: mapValues(readPairs('--resources', values.resources), (amount, name) => readAmount(`--resources ${name}`, amount)!),
  });
  const objectStore = values['object-store'];
  return {
    role: address === undefined ? readHeadRole(values) : readMemberRole(values, address), resources, labels: readPairs('--labels', values.labels),
    objectStoreBytes: objectStore === undefined ? null : parseSizeBytes(objectStore),
  };
}

function readHeadRole(values: StartValues): HeadRole {
  const timeout = values['node-timeout'];
  const nodeTimeoutMs = timeout === undefined ? null : readDurationMs('--node-timeout', timeout);
  if (nodeTimeoutMs !== null && nodeTimeoutMs < NODE_TIMEOUT_MIN_MS) throw invalid(`--node-timeout ${timeout}`, `at least ${NODE_TIMEOUT_MIN_MS}ms`);
  const queues = values.queues === undefined ? [] : readQueues(values.queues);
  if (values.ephemeral) return { kind: 'head', listen: null, nodeTimeoutMs, queues };
  const port = readAmount('--port', values.port) ?? DEFAULT_PORT;
  if (!Number.isInteger(port) || port > 65_535) throw invalid(`--port ${port}`, 'a whole number from 0 to 65535');
  return { kind: 'head', listen: { host: values.host ?? DEFAULT_HOST, port }, nodeTimeoutMs, queues };
}

function readQueues(file: string): readonly QueueRules[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw invalid(`--queues ${file}`, `a file that can be read (${(error as NodeJS.ErrnoException).code})`);
  }
  return readQueueFile(text);
}

function readMemberRole(values: StartValues, address: string): MemberRole {
  if (!address.startsWith('unix:')) parseAddress(address);
  return { kind: 'member', headAddress: address, host: values.host ?? null };
}

function readAmount(option: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const amount = Number(value);
  if (value.trim() === '' || !Number.isFinite(amount) || amount < 0) throw invalid(`${option} ${value}`, 'a number of 0 or more');
  return amount;
}

/** Reads `5s`, `500ms`, `2m`. */
function readDurationMs(option: string, value: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)$/.exec(value);
  if (!match) throw invalid(`${option} ${value}`, 'a time such as 500ms, 5s or 2m');
  return Math.round(Number(match[1]) * { ms: 1, s: 1000, m: 60_000 }[match[2] as 'ms' | 's' | 'm']);
}

/** Reads `a=1,b=2` and repetitions. */
export function readPairs(option: string, values: readonly string[] = []): Readonly<Record<string, string>> {
  const pairs: Record<string, string> = {};
  for (const pair of values.flatMap((value) => value.split(','))) {
    const [name = '', ...rest] = pair.split('=');
    if (name === '' || rest.length === 0) throw invalid(`${option} ${pair}`, 'of the form name=value');
    pairs[name] = rest.join('=');
  }
  return pairs;
}

function mapValues<T>(record: Readonly<Record<string, string>>, map: (value: string, name: string) => T): Record<string, T> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, map(value, name)]));
}

const invalid = (what: string, want: string): Error => makeError('INVALID_ARGUMENT', { what, want });
