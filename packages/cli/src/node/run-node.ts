/**
 * Puts a node together: a daemon, and in front of it the head if the cluster begins here. This is where the parts of Muster meet;
 * each of them is told everything that it needs.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { makeError, MusterError, musterHome, newId, systemRandom, type Clock, type NodeId } from '@muster/base';
import { startDaemon, type RunningDaemon } from '@muster/daemon';
import type { SpareWorker } from '@muster/daemon/spare-worker';
import { startHead, type RunningHead } from '@muster/head';
import { Channel } from '@muster/protocol';
import { formatAddress, isWildcard, parseAddress } from '../cluster/address.js';
import { CommandFailure } from '../output/failure.js';
import { NodeLog, nodeLogFile } from './node-log.js';
import type { HeadRole, MemberRole, NodeSettings } from './start-options.js';
import { WORKER_ENTRY } from './worker-entry.js';

const TOKEN_BYTES = 32;
/** A node's heartbeats in the time after which it would be given up. */
const HEARTBEATS_PER_TIMEOUT = 10;
const CONNECT_TIMEOUT_MS = 10_000;
const STOP_REQUEST_TIMEOUT_MS = 2000;

const systemClock: Clock = { nowMs: () => performance.now(), wallMs: () => Date.now() };

/** What cannot stand on a command line. */
export interface NodeSecrets {
  /** Of the cluster to join; a new cluster makes its own. */
  readonly token?: string;
  /** Chosen by the process that waits for this one, and made up otherwise. */
  readonly nodeId?: NodeId;
}

/** What a process may bring along when it becomes a node. */
export interface NodeBeginnings extends NodeSecrets {
  readonly spareWorker?: SpareWorker | undefined;
}

/** What others on this machine must know of a node that is ready. */
export interface ReadyNode {
  readonly nodeId: NodeId;
  /** Where programs on this machine reach the head: `host:port` or `unix:/path`. */
  readonly headTarget: string;
  readonly daemonUnixPath: string;
  readonly tokenFile: string;
  readonly logFile: string;
}

export interface RunningNode {
  readonly ready: ReadyNode;
  /** Resolves with the reason when the node is down, whoever wanted it. */
  readonly closed: Promise<string>;
  /** Takes it down, and with the head the whole cluster. */
  stop(reason: string): Promise<void>;
}

/** Starts a node and resolves when the cluster has accepted it. @throws MusterError, CommandFailure */
export async function runNode(settings: NodeSettings, beginnings: NodeBeginnings): Promise<RunningNode> {
  const place = new NodePlace(beginnings);
  try {
    const node = settings.role.kind === 'head' ? await runHeadNode(settings, settings.role, place) : await runMemberNode(settings, settings.role, place);
    void place.openLog(); // programs that wait for the node need not wait for its log
    return node;
  } catch (error) {
    rmSync(place.folder, { recursive: true, force: true });
    throw error;
  }
}

/** The node's name, folder and token, and perhaps its first worker, which stand before any of its parts does. */
class NodePlace {
  readonly nodeId: NodeId;
  readonly home = musterHome();
  readonly folder: string;
  readonly token: string;
  readonly tokenFile: string;
  readonly logFile: string;
  readonly log = new NodeLog();
  readonly spareWorker: SpareWorker | undefined;

  constructor(beginnings: NodeBeginnings) {
    this.spareWorker = beginnings.spareWorker;
    this.nodeId = beginnings.nodeId ?? newId('node', systemRandom);
    this.folder = join(this.home, this.nodeId);
    this.token = beginnings.token ?? randomBytes(TOKEN_BYTES).toString('base64url');
    this.tokenFile = join(this.folder, 'token');
    this.logFile = nodeLogFile(this.folder);
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    writeFileSync(this.tokenFile, `${this.token}\n`, { mode: 0o600 });
  }

  async openLog(): Promise<void> {
    await this.log.open(this.logFile).catch((error: Error) => process.stderr.write(`muster: no log: ${error.message}\n`));
  }

  ready(daemon: RunningDaemon, headTarget: string): ReadyNode {
    return { nodeId: this.nodeId, headTarget, daemonUnixPath: daemon.endpoint.unixPath, tokenFile: this.tokenFile, logFile: this.logFile };
  }
}

async function runHeadNode(settings: NodeSettings, role: HeadRole, place: NodePlace): Promise<RunningNode> {
  const { listen } = role;
  const head = await listenAsHead(role, place);
  const headTarget = listen ? formatAddress({ host: listen.host, port: head.port! }) : `unix:${headSocket(place)}`;
  let daemon: RunningDaemon;
  try {
    daemon = await startNodeDaemon(settings, place, { headTarget, isHead: true, host: listen ? ownHost(listen.host) : undefined });
  } catch (error) {
    await head.close();
    throw error;
  }
  const askToStop = (reason: string): Promise<boolean> => stopCluster(headTarget, place.token, reason);
  const closed = daemon.closed.then(async (reason) => {
    const wasHeard = await askToStop(reason); // of no effect unless the daemon alone has ended
    await (wasHeard ? head.stopped : Promise.race([head.stopped, delay(STOP_REQUEST_TIMEOUT_MS)])); // somebody may have removed its socket
    await head.close();
    return reason;
  });
  return {
    ready: place.ready(daemon, headTarget), closed,
    stop: async (reason) => {
      await askToStop(reason);
      await daemon.close(reason);
      await closed;
    },
  };
}

/** What the system's words mean. */
const LISTEN_FAILURES: readonly (readonly [RegExp, string])[] = [
  [/EADDRINUSE/, 'something listens there already'],
  [/EADDRNOTAVAIL/, 'this machine has no such address'],
  [/EACCES/, 'only the system\'s administrator may use ports this low'],
  [/ENOTFOUND|EAI_AGAIN|Name resolution failed/, 'no such host is known'],
];

async function listenAsHead({ listen, nodeTimeoutMs, queues }: HeadRole, place: NodePlace): Promise<RunningHead> {
  try {
    return await startHead({
      token: place.token, tokenFile: place.tokenFile, clock: systemClock, random: systemRandom, logger: place.log, queues,
      ...(listen ? { listen } : { listenUnixPath: headSocket(place) }),
      ...(nodeTimeoutMs === null ? {} : { nodeTimeoutMs, heartbeatIntervalMs: Math.ceil(nodeTimeoutMs / HEARTBEATS_PER_TIMEOUT) }),
    });
  } catch (error) {
    if (!listen || !(error instanceof MusterError) || error.code !== 'CONNECTION') throw error;
    const [, why] = LISTEN_FAILURES.find(([pattern]) => pattern.test(error.message)) ?? ['', error.details['cause']];
    throw new CommandFailure({
      what: `cannot listen on ${formatAddress(listen)}: ${why}`,
      remedy: 'Choose another --port or --host; `cluster status` tells whether a cluster runs on this machine.', cause: error,
    });
  }
}

const headSocket = (place: NodePlace): string => join(place.folder, 'head.sock');

/** Tells the head to stop all nodes, if it has not stopped already. False when it could not be told. */
async function stopCluster(headTarget: string, token: string, reason: string): Promise<boolean> {
  const channel = new Channel({ target: headTarget, token, peer: 'the head' });
  const wasHeard = await channel.request('Head.Query', { what: 'stop', arguments: { reason }, json: '' }, STOP_REQUEST_TIMEOUT_MS).then(() => true, () => false);
  channel.close();
  return wasHeard;
}

async function runMemberNode(settings: NodeSettings, { headAddress, host }: MemberRole, place: NodePlace): Promise<RunningNode> {
  const isLocal = headAddress.startsWith('unix:');
  const ownAddress = isLocal ? undefined : host ? ownHost(host) : await addressTowards(headAddress);
  const daemon = await startNodeDaemon(settings, place, { headTarget: headAddress, isHead: false, host: ownAddress });
  return { ready: place.ready(daemon, headAddress), closed: daemon.closed, stop: (reason) => daemon.close(reason) };
}

function startNodeDaemon(settings: NodeSettings, place: NodePlace, { headTarget, isHead, host }: { headTarget: string; isHead: boolean; host: string | undefined }): Promise<RunningDaemon> {
  return startDaemon({
    nodeId: place.nodeId, headTarget, isHead, token: place.token, tokenFile: place.tokenFile, home: place.home, host,
    resources: settings.resources, labels: settings.labels, objectStoreBytes: settings.objectStoreBytes ?? undefined,
    workerEntry: WORKER_ENTRY, spareWorker: place.spareWorker, logger: place.log, clock: systemClock, random: systemRandom,
  });
}

/** An address under which other machines reach this one, when it listens on `host`. */
function ownHost(host: string): string {
  if (!isWildcard(host)) return host;
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return all.find((address) => !address.internal && address.family === 'IPv4')?.address ?? '127.0.0.1';
}

/** The address of this machine from which the head can be reached, and so the one under which the head's side reaches it. */
function addressTowards(headAddress: string): Promise<string> {
  const unreachable = (cause: string): Error => makeError('CONNECTION', { what: `the head at ${headAddress}`, cause });
  return new Promise((resolve, reject) => {
    const socket = connect({ ...parseAddress(headAddress), timeout: CONNECT_TIMEOUT_MS });
    socket.once('connect', () => {
      resolve(socket.localAddress!);
      socket.destroy();
    });
    socket.once('timeout', () => {
      reject(unreachable('no answer in time'));
      socket.destroy();
    });
    socket.once('error', (error) => reject(unreachable(error.message)));
  });
}
