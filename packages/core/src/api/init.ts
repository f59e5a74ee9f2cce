/** init() and shutdown(): a program's connection to a cluster, its own on this machine or one that runs already. */
import { basename } from 'node:path';
import { isSameHead, localNodes, makeError, musterHome, sweepDeadDrivers, type JobId, type MusterError, type NodeId, type ResourceOptions } from '@muster/base';
import { startLocalCluster, startLocalNode } from '../io/local-cluster.js';
import { readToken } from '../io/token.js';
import { newDriverId, Session, type SessionTarget } from '../io/session.js';
import { actor, handleFromParts } from './actor.js';
import { currentSession, onImplicitInit, setSession } from './current.js';
import { gang, gangFromParts } from './gang.js';
import { showLogLines } from './logs.js';
import { checkAddress, checkInitOptions, ownNodeOptions } from './options.js';
import { optionsFromText, placementGroupFromParts } from './placement-group.js';
import { remoteFromParts } from './remote.js';
import { specialForms } from './special.js';
import type { ActorOptions, GangOptions } from './types.js';

/**
 * Resources, labels and objectStore are of the node that init() starts: together with `address` they are an error, and where MUSTER_ADDRESS names a cluster that
 * runs already they are left out, which is said.
 */
export interface InitOptions extends ResourceOptions {
  /** `host:port` of a head. Default: MUSTER_ADDRESS; without it, a cluster of this program's own starts on this machine and ends with it. */
  readonly address?: string;
  /** The cluster's token; default: the file named by MUSTER_TOKEN_FILE, or the one a node on this machine uses. */
  readonly token?: string;
  /** Labels of the own cluster's node. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Shared memory for objects, in bytes or as '2GiB', of the own cluster. Default: 30% of the memory. */
  readonly objectStore?: number | string;
  /** The queue of this program's tasks and actors. Default: MUSTER_QUEUE, else the cluster's default queue. */
  readonly queue?: string;
  /** A whole number: those of higher priority go first, and may preempt lower ones. Default: MUSTER_PRIORITY, else 0. */
  readonly priority?: number;
  /** Show what tasks and actors print. Default true. */
  readonly logs?: boolean;
}

export interface ClusterInfo {
  readonly jobId: JobId;
  readonly nodeId: NodeId;
}

/** Makes the forms of core's own values in this process. */
export function sessionForms(session: Session): ReturnType<typeof specialForms> {
  return specialForms({
    'remote-function': remoteFromParts,
    'actor-class': ([Class, options]) => actor(Class as never, optionsFromText<ActorOptions>(options as string)),
    'actor-handle': (parts) => handleFromParts(session, parts),
    'gang-class': ([Class, options]) => gang(Class as never, JSON.parse(options as string) as GangOptions),
    'gang-handle': (parts) => gangFromParts(session, parts),
    'placement-group': placementGroupFromParts,
  });
}

/**
 * Connects this program to a cluster. Also done implicitly, with the defaults, by the first remote call.
 * @throws AuthenticationError, VersionMismatchError, MusterError CONNECTION; INVALID_ARGUMENT for options that are wrong or contradict each other
 */
export async function init(options: InitOptions = {}): Promise<ClusterInfo> {
  const running = currentSession();
  if (running) throw makeError('INVALID_ARGUMENT', { what: 'init() in a program that is connected already', want: 'preceded by shutdown(), or called once, before the first remote call' });
  const inherited = process.env['MUSTER_ADDRESS'] ?? '';
  checkInitOptions(options, inherited);
  const leftOut = options.address === undefined && inherited !== '' ? ownNodeOptions(options) : [];
  if (leftOut.length > 0) process.stderr.write(`muster: init() leaves out ${leftOut.join(', ')}: the cluster at ${inherited}, which MUSTER_ADDRESS names, runs already\n`);
  const session = makeSession(options);
  try {
    await session.ready;
  } catch (error) {
    if (currentSession() === session) setSession(null);
    throw error;
  }
  return { jobId: session.jobId, nodeId: session.nodeId };
}

/** Ends the job: its tasks and actors end, its output has been shown, and a cluster of its own stops. */
export async function shutdown(): Promise<void> {
  const session = currentSession();
  if (!session) return;
  setSession(null);
  await session.close();
  await stopOwnCluster();
}

/** The program's own code has ended, and nothing is left to wait for. */
const shutdownAtEnd = (): void => void shutdown();

let stopOwnCluster: () => Promise<void> = async () => {};

function makeSession(options: InitOptions): Session {
  const processId = newDriverId();
  const session: Session = new Session({
    processId, isDriver: true, socketPath: `${musterHome()}/${processId}.sock`, entrypoint: basename(process.argv[1] ?? 'node'),
    handlers: {}, special: sessionForms, onCommand: () => {}, onHeadMessage: () => {},
    onLog: options.logs === false ? null : showLogLines,
    onClosed: (failure: MusterError) => {
      if (currentSession() === session) process.stderr.write(`muster: ${failure.message}\n`);
    },
  });
  setSession(session);
  void session.connect(findCluster(options));
  process.off('beforeExit', shutdownAtEnd).once('beforeExit', shutdownAtEnd);
  return session;
}

async function findCluster(options: InitOptions): Promise<SessionTarget> {
  void sweepDeadDrivers(musterHome());
  const address = options.address ?? process.env['MUSTER_ADDRESS'];
  const job = {
    jobId: process.env['MUSTER_JOB_ID'] ?? '', queue: options.queue ?? process.env['MUSTER_QUEUE'] ?? '',
    priority: options.priority ?? readPriority(process.env['MUSTER_PRIORITY']),
  };
  if (!address) {
    const local = await startLocalCluster(options);
    stopOwnCluster = local.stop;
    return { ...local.target, ...job };
  }
  checkAddress(address);
  const node = (await localNodes()).find(({ headAddress }) => isSameHead(headAddress, address)); // that of the head first: without it the cluster is no more
  const token = options.token ?? readToken(node);
  if (node) return { headTarget: address, daemonTarget: `unix:${node.daemonUnixPath}`, token, ...job, listenHost: null };
  const own = await startLocalNode(address, token);
  stopOwnCluster = own.stop;
  return { ...own.target, ...job };
}

/** @throws MusterError INVALID_ARGUMENT */
function readPriority(text: string | undefined): number {
  const priority = Number(text ?? 0);
  if (Number.isInteger(priority) && text?.trim() !== '') return priority;
  throw makeError('INVALID_ARGUMENT', { what: `MUSTER_PRIORITY=${text}`, want: 'a whole number' });
}

onImplicitInit(() => makeSession({}));
