/**
 * A head between nodes and clients that are played by commands, such as `add-node n1 cpu=4`, `client d1`, `demand d1 1 cpu=1 x3`
 * and `tick 5s`. Each command returns what the head sends because of it, one line each.
 */
import { makeError, NODE_LABEL, parseResources, type DeathCause, type Random, type ResourceSet } from '@muster/base';
import { deathToMessage, failureToMessage, NO_PLACEMENT, resourcesToMessage, type ClientToHead, type Death, type Demand, type Endpoint, type LabelTerm, type NodeToHead } from '@muster/protocol';
import { HeadMachine } from '../machine/head-machine.js';
import { TICK_MS, type HeadEffect, type HeadEvent } from '../machine/messages.js';
import type { QueueRules } from '../machine/queues.js';
import { readQueueFile } from '../queue-file.js';
import { printMessage, shortenIds } from './print.js';

const HEARTBEAT_MS = 500;
const TEXT = new TextEncoder();

/** Ids that count up, whatever their kind. */
function countingRandom(): Random {
  let count = 0;
  return { next: () => 0.5, hex: (digits) => String(++count).padStart(digits, '0') };
}

function newMachine(queues: readonly QueueRules[]): HeadMachine {
  return new HeadMachine(
    { clusterId: 'cluster-1', heartbeatIntervalMs: HEARTBEAT_MS, nodeTimeoutMs: 5_000, lostNodeGraceMs: 30_000, address: 'unix:/muster/head.sock', tokenFile: '/muster/token', queues },
    countingRandom(), 0,
  );
}

/** The words of one command: what stands alone, and what is `key=value`. */
interface Words {
  readonly plain: readonly string[];
  readonly options: Readonly<Record<string, string>>;
}

/** One cluster, which commands change. */
export class ClusterScript {
  machine = newMachine([]);
  #nowMs = 0;
  #streamCount = 0;
  #queryCount = 0;
  /** The current stream of each name. */
  readonly #streamOf = new Map<string, number>();
  readonly #nameOf = new Map<number, string>();
  readonly #registrations = new Map<string, NodeToHead>();
  readonly #silent = new Set<string>();

  run(command: string): string[] {
    const [verb = '', ...words] = command.split(' ').filter((word) => word !== '');
    const options: Record<string, string> = {};
    const plain = words.filter((word) => {
      const at = word.indexOf('=');
      if (at > 0 && !word.startsWith('{')) options[word.slice(0, at)] = word.slice(at + 1);
      return at <= 0 || word.startsWith('{');
    });
    return this.#command(verb, { plain, options }, command).flatMap((effect) => this.#print(effect));
  }

  #command(verb: string, words: Words, command: string): HeadEffect[] {
    const [name = '', second = '', third = ''] = words.plain;
    const cause = (at: number): Death => deathToMessage(death(words.plain.slice(at)));
    const has = (word: string): boolean => words.plain.includes(word);
    switch (verb) {
      case 'queues': // before anything else
        this.machine = newMachine(readQueueFile(command.slice(verb.length)));
        return [];
      case 'tick': return this.#tick(durationMs(name));
      case 'stall': this.#nowMs += durationMs(name); return [];
      case 'silence': this.#silent.add(name); return [];
      case 'query': return this.#step({ type: 'query', queryId: ++this.#queryCount, request: { what: name, arguments: words.options, json: second } });
      // Nodes.
      case 'add-node': return this.#addNode(name, words);
      case 'return-node': return [...this.#open(name, 'node'), ...this.#node(name, this.#registrations.get(name)!)];
      case 'drop-node': return this.#close(name, 'node', false);
      case 'leave': return this.#close(name, 'node', true);
      case 'worker-started': return this.#node(name, { type: 'workerStarted', workerId: `worker-${second}`, pid: 1 });
      case 'worker-exited': return this.#node(name, { type: 'workerExited', workerId: `worker-${second}`, cause: cause(2) });
      case 'started': return this.#node(name, {
        type: 'leaseStarted', leaseId: id(second), workerId: `worker-${third}`, pid: 1, endpoint: endpoint(name, `${third}.sock`),
      });
      case 'failed': return this.#node(name, { type: 'leaseFailed', leaseId: id(second), cause: cause(2) });
      case 'ended': return this.#node(name, { type: 'leaseEnded', leaseId: id(second), cause: third === '' ? null : cause(2) });
      case 'prepared': return this.#node(name, { type: 'bundlesPrepared', groupId: `pg-${second}`, epoch: Number(third), failure: null });
      case 'not-prepared': return this.#node(name, {
        type: 'bundlesPrepared', groupId: `pg-${second}`, epoch: Number(third), failure: failureToMessage(makeError('UNSCHEDULABLE', { what: 'it', reasons: words.plain.slice(3).join(' ') })),
      });
      case 'returned': return this.#node(name, { type: 'bundlesReturned', groupId: `pg-${second}`, epoch: Number(third) });
      case 'output': return this.#node(name, {
        type: 'logLines', jobId: id(second), nodeId: `node-${name}`, workerId: '', pid: 1, name: '', isError: false, lines: words.plain.slice(2),
        suppressedCount: 0,
      });
      case 'flushed': return this.#node(name, { type: 'logsFlushed', jobId: id(second) });
      case 'program-exited': return this.#node(name, { type: 'jobProcessExited', jobId: id(second), cause: cause(2) });
      case 'node-reply': return this.#node(name, { type: 'nodeReply', requestId: Number(second), failure: null, json: words.plain.slice(2).join(' ') });
      case 'node-send': return this.#node(name, JSON.parse(command.slice(command.indexOf('{'))) as NodeToHead);
      // Clients.
      case 'connect': return this.#open(name, has('node') ? 'node' : 'client');
      case 'client': return [...this.#open(name, 'client'), ...this.#hello(name, true, words.options)];
      case 'worker': return [...this.#open(name, 'client'), ...this.#hello(name, false, words.options)];
      case 'disconnect': return this.#close(name, 'client', true);
      case 'send': return this.#client(name, JSON.parse(command.slice(command.indexOf('{'))) as ClientToHead);
      case 'demand': return this.#client(name, {
        type: 'leaseDemand', demandId: Number(second), demand: demand(words), count: countOf(words), name: words.options['name'] ?? '',
        preferredNodeIds: words.options['near'] === undefined ? [] : words.options['near'].split(',').map((node) => `node-${node}`),
      });
      case 'return': return this.#client(name, { type: 'leaseReturn', leaseId: id(second), killWorker: has('kill'), reason: '' });
      case 'blocked': return this.#client(name, { type: 'workerBlocked', blocked: true });
      case 'unblocked': return this.#client(name, { type: 'workerBlocked', blocked: false });
      case 'create': return this.#create(name, second, words);
      case 'actor-started': return this.#client(name, { type: 'actorStarted', actorId: `actor-${second}`, incarnation: Number(third) });
      case 'actor-threw': return this.#client(name, {
        type: 'actorStartFailed', actorId: `actor-${second}`, incarnation: Number(third), error: TEXT.encode('boom'),
      });
      case 'kill': return this.#client(name, { type: 'killActor', actorId: `actor-${second}`, noRestart: !has('restart'), incarnation: 0, reason: '' });
      case 'get': return this.#client(name, { type: 'getActor', requestId: 9, name: second });
      case 'watch': return this.#client(name, { type: 'watchActor', actorId: `actor-${second}` });
      case 'watch-process': return this.#client(name, { type: 'watchProcess', processId: second });
      case 'group': return this.#group(name, second, words);
      case 'remove-group': return this.#client(name, { type: 'removeGroup', groupId: `pg-${second}` });
      case 'watch-group': return this.#client(name, { type: 'watchGroup', groupId: `pg-${second}` });
      case 'put-key': return this.#client(name, { type: 'putKey', requestId: 5, namespace: second, key: third, value: TEXT.encode(words.plain[3]!) });
      case 'get-key': return this.#client(name, { type: 'getKey', requestId: 6, namespace: second, key: third, waitMs: durationMs(words.options['wait'] ?? '0s') });
      case 'clear-keys': return this.#client(name, { type: 'clearKeys', namespace: second });
      case 'client-reply': return this.#client(name, { type: 'clientReply', requestId: Number(second), json: words.plain.slice(2).join(' ') });
      case 'end-job': return this.#client(name, { type: 'endJob', cause: second === '' ? null : cause(1) });
      default: throw new Error(`no such command: ${verb}`);
    }
  }

  #step(event: HeadEvent): HeadEffect[] {
    return this.machine.step(event, this.#nowMs);
  }

  #tick(durationMs: number): HeadEffect[] {
    const effects: HeadEffect[] = [];
    for (const untilMs = this.#nowMs + durationMs; this.#nowMs < untilMs;) {
      this.#nowMs += TICK_MS;
      if (this.#nowMs % HEARTBEAT_MS === 0) {
        for (const name of this.#registrations.keys()) if (!this.#silent.has(name)) effects.push(...this.#node(name, HEARTBEAT));
      }
      effects.push(...this.#step({ type: 'tick' }));
    }
    return effects;
  }

  #open(name: string, kind: 'node' | 'client'): HeadEffect[] {
    const stream = ++this.#streamCount;
    this.#streamOf.set(name, stream);
    this.#nameOf.set(stream, name);
    return this.#step({ type: kind === 'node' ? 'nodeOpened' : 'clientOpened', stream });
  }

  #close(name: string, kind: 'node' | 'client', orderly: boolean): HeadEffect[] {
    const stream = this.#streamOf.get(name)!;
    this.#streamOf.delete(name);
    return this.#step(kind === 'node' ? { type: 'nodeClosed', stream, orderly } : { type: 'clientClosed', stream });
  }

  #node(name: string, message: NodeToHead): HeadEffect[] {
    const stream = this.#streamOf.get(name);
    return stream === undefined ? [] : this.#step({ type: 'nodeMessage', stream, message });
  }

  #client(name: string, message: ClientToHead): HeadEffect[] {
    const stream = this.#streamOf.get(name);
    return stream === undefined ? [] : this.#step({ type: 'clientMessage', stream, message });
  }

  #addNode(name: string, words: Words): HeadEffect[] {
    const registration: NodeToHead = {
      type: 'registerNode', nodeId: `node-${name}`, instanceId: `run-of-${name}`, endpoint: endpoint(name, 'daemon.sock'), hostname: `${name}.local`, pid: 1,
      resources: resourcesToMessage(resources(words.options)), labels: labels(words.options), objectStoreBytes: 2 ** 30,
      isHeadNode: words.plain.includes('head'),
    };
    this.#registrations.set(name, registration);
    return [...this.#open(name, 'node'), ...this.#node(name, registration)];
  }

  #hello(name: string, isDriver: boolean, options: Words['options']): HeadEffect[] {
    const { node = '', job = '' } = options;
    return this.#client(name, {
      type: 'clientHello', processId: `${isDriver ? 'driver' : 'worker'}-${name}`, jobId: id(job), isDriver, nodeId: node && `node-${node}`, pid: 1,
      endpoint: endpoint(node, `${name}.sock`), entrypoint: options['entrypoint'] ?? '', wantLogs: options['logs'] !== 'no',
      queue: options['queue'] ?? '', priority: Number(options['priority'] ?? 0),
    });
  }

  #create(name: string, actor: string, words: Words): HeadEffect[] {
    return this.#client(name, {
      type: 'createActor', requestId: 7, actorId: `actor-${actor}`, name: words.options['name'] ?? '', className: words.options['class'] ?? 'Counter',
      detached: words.plain.includes('detached'), getIfExists: words.plain.includes('if-exists'), demand: demand(words),
      maxRestarts: Number(words.options['restarts'] ?? 0), maxConcurrency: 1, creation: TEXT.encode('new'), maxPendingCalls: 0,
      interface: new Uint8Array(0),
    });
  }

  /** `group d1 g1 spread cpu=1 x3`: with equal bundles. */
  #group(name: string, group: string, words: Words): HeadEffect[] {
    const { same } = words.options;
    const bundle: Demand = {
      resources: resourcesToMessage(resources(words.options)), placement: { ...NO_PLACEMENT, labels: terms(words.options) }, waitForNodes: false,
      expectedDurationMs: expected(words.options),
    };
    return this.#client(name, {
      type: 'createGroup', groupId: `pg-${group}`, name: words.options['name'] ?? '', bundles: Array.from({ length: countOf(words) }, () => bundle),
      strategy: words.plain[2]!, topology: same === undefined ? [] : [{ level: same, rule: 'same', max: 0 }], waitForNodes: words.plain.includes('wait'),
    });
  }

  #print(effect: HeadEffect): string[] {
    switch (effect.type) {
      case 'sendToNode':
      case 'sendToClient': return [`${this.#nameOf.get(effect.stream)} <- ${printMessage(effect.message)}`];
      case 'closeNode':
      case 'closeClient': {
        const name = this.#nameOf.get(effect.stream)!;
        if (this.#streamOf.get(name) === effect.stream) this.#streamOf.delete(name);
        return [`${name} closed${effect.failure === null ? '' : `: ${effect.failure.code} ${effect.failure.message}`}`];
      }
      case 'answerQuery': return effect.reply.failure !== null
        ? [`${effect.reply.failure.code} ${shortenIds(JSON.stringify(effect.reply.failure.details))}`]
        : shortenIds(JSON.stringify(JSON.parse(effect.reply.json), null, 1)).split('\n');
      case 'stop': return [`stop: ${effect.reason}`];
      case 'log': return [];
    }
  }
}

const HEARTBEAT: NodeToHead = { type: 'heartbeat', sequence: 0, objectStoreUsedBytes: 0, spilledBytes: 0, objectCount: 0, workerCount: 0 };

const endpoint = (node: string, socket: string): Endpoint => ({ nodeId: `node-${node}`, unixPath: `/${node}/${socket}`, host: '', port: 0 });

/** Scripts write ids as they are printed: without the zeros of a counted one. */
const id = (text: string): string => text.replace(/^(lease|job)-(\d+)$/, (_, kind: string, count: string) => `${kind}-${count.padStart(12, '0')}`);

const durationMs = (text: string): number => (text.endsWith('ms') ? Number(text.slice(0, -2)) : Number(text.slice(0, -1)) * 1_000);

const RESOURCE_NAMES = new Set(['cpu', 'gpu', 'memory', 'tpu']);

function resources(options: Words['options']): ResourceSet {
  const named = Object.entries(options).filter(([key]) => RESOURCE_NAMES.has(key)).map(([key, value]) => [key, Number(value)] as const);
  const { cpu, gpu, memory, tpu = 0 } = Object.fromEntries(named) as Record<string, number>;
  return parseResources({ cpus: cpu, gpus: gpu, memory, resources: { tpu } });
}

const labels = (options: Words['options']): Record<string, string> => (options['zone'] === undefined ? {} : { zone: options['zone'] });

/** `x3` */
const countOf = ({ plain }: Words): number => Number(plain.find((word) => /^x\d+$/.test(word))!.slice(1));

/** `in=g1`: in any bundle of a placement group; `in=g1/0`: in that one. */
function demand(words: Words): Demand {
  const [group, bundle] = (words.options['in'] ?? '').split('/');
  const placement = {
    spread: words.plain.includes('spread'), labels: terms(words.options), groupId: group === '' ? '' : `pg-${group}`,
    bundle: bundle === undefined ? 0 : Number(bundle) + 1, capturesChildren: words.plain.includes('captures'),
  };
  const waitForNodes = words.plain.includes('wait');
  return { resources: resourcesToMessage(resources(words.options)), placement, waitForNodes, expectedDurationMs: expected(words.options) };
}

/** `for=5s` */
const expected = (options: Words['options']): number => (options['for'] === undefined ? 0 : durationMs(options['for']));

/** `zone=a`, `on=n1`, `not=zone=a`, `prefer=zone=a`. */
function terms({ zone, on, not, prefer }: Words['options']): LabelTerm[] {
  const term = (operator: string, text: string, weight = 0): LabelTerm => {
    const [key = '', value = ''] = text.split('=');
    return { key, operator, values: [value], weight };
  };
  return [
    ...(zone === undefined ? [] : [term('in', `zone=${zone}`)]), ...(on === undefined ? [] : [term('in', `${NODE_LABEL}=node-${on}`)]),
    ...(not === undefined ? [] : [term('not-in', not)]), ...(prefer === undefined ? [] : [term('in', prefer, 10)]),
  ];
}

/** `exit 1`, `signal SIGKILL`, or anything else: did not start, because of that. */
function death([kind = '', ...rest]: readonly string[]): DeathCause {
  if (kind === 'exit') return { kind: 'exit', code: Number(rest[0]) };
  if (kind === 'signal') return { kind: 'signal', signal: rest[0]! };
  return { kind: 'start-failed', detail: [kind, ...rest].join(' ') };
}
