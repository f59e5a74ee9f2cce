/** A worker process: started by its node's daemon, told on stdin who it is, and ended with it. */
import { readSync } from 'node:fs';
import type { ActorId, JobId, ProcessId } from '@muster/base';
import { Arena, dieWithParent } from '@muster/native';
import type { HeadToClient, LeasePreempted, WorkerCommand } from '@muster/protocol';
import { encodeThrown, provideContext, Session, sessionForms, setSession } from '@muster/core/internal';
import { startActor } from './actor-start.js';
import { Admission } from './admission.js';
import { Executor } from './executor.js';
import { preemptedError } from './running.js';
import { markOutput } from './output.js';

/** The line that the daemon writes to a new worker's stdin. */
interface WorkerConfig {
  readonly workerId: ProcessId;
  readonly nodeId: string;
  readonly token: string;
  readonly daemonUnixPath: string;
  readonly headTarget: string;
  readonly nodeFolder: string;
  /** Empty: unix sockets only. */
  readonly host: string;
  /** Where to count the tasks that begin, so that the daemon knows it when this process has died; -1: nowhere. */
  readonly arenaPath: string;
  readonly progressOffset: number;
}

/** Reads the first line of stdin, and nothing more. */
function readConfig(): WorkerConfig {
  const line: number[] = [];
  const byte = Buffer.alloc(1);
  while (readByte(byte) && byte[0] !== 0x0a) line.push(byte[0]!);
  if (line.length === 0) process.exit(0); // the process that started it did not become a daemon
  return JSON.parse(Buffer.from(line).toString('utf8')) as WorkerConfig;
}

function readByte(byte: Buffer): boolean {
  for (;;) {
    try {
      return readSync(0, byte, 0, 1, null) === 1;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  }
}

dieWithParent(process.ppid);
const config = readConfig();
process.stdin.on('end', () => process.exit(0)).on('error', () => process.exit(0)).resume(); // the daemon is gone

let lease: WorkerCommand | null = null;
/** The actor that lives here, from the moment its constructor begins. */
let actorId: ActorId | null = null;
/** Aborts when the present lease ends early: for code that runs outside of tasks and calls, such as an actor's constructor. */
let lifetime = new AbortController();

const session: Session = new Session({
  processId: config.workerId, isDriver: false, socketPath: `${config.nodeFolder}/${config.workerId}.sock`, entrypoint: '',
  handlers: { 'Peer.Tasks': (stream, metadata) => admission.serve(stream, metadata) },
  special: sessionForms, onLog: null, onHeadMessage, onCommand,
  onClosed: (failure) => {
    process.stderr.write(`muster: ${failure.message}\n`);
    process.exit(1);
  },
});
const executor = new Executor(session);
const admission = new Admission(executor, { workerId: config.workerId, leaseId: () => lease?.leaseId ?? '', heardDaemon: () => session.store.sync() });
markOutput(() => executor.outputName);
if (config.progressOffset >= 0) executor.progress = new Float64Array(Arena.open(config.arenaPath).share(config.progressOffset, Float64Array.BYTES_PER_ELEMENT));
setSession(session);
provideContext(() => ({
  jobId: session.jobId, nodeId: session.nodeId, taskId: executor.currentTaskId(), actorId,
  gpuIds: lease?.gpuIds ?? [], placementGroup: lease?.bundle ? { id: lease.bundle.groupId, bundle: lease.bundle.index } : null, attempt: (executor.current?.attempt ?? 0) + 1, signal: executor.current?.signal ?? lifetime.signal,
}));

function onCommand(command: WorkerCommand): void {
  if (command.exit) process.exit(0);
  lease = command.leaseId ? command : null;
  executor.progress[0] = 0;
  session.capturedBy = lease?.bundle?.capturesChildren ? lease.bundle.groupId : '';
  executor.preemption = null;
  lifetime = new AbortController();
  if (lease) {
    session.jobId = command.jobId as JobId;
    process.env['CUDA_VISIBLE_DEVICES'] = command.gpuIds.join(',');
  }
  admission.leaseChanged();
}

/** The lease ends early: what runs hears of it. */
function onPreempted({ leaseId, reason, graceMs }: LeasePreempted): void {
  if (lease?.leaseId !== leaseId) return;
  const preemption = { why: reason, graceMs };
  executor.preempt(preemption);
  lifetime.abort(preemptedError(executor.actor ? `the actor ${executor.actor.name}` : 'the worker', preemption));
}

function onHeadMessage(message: HeadToClient): void {
  if (message.type === 'leasePreempted') onPreempted(message);
  if (message.type !== 'startActor') return;
  actorId = message.actorId as ActorId;
  executor.lastBegun = message.name || message.className;
  void startActor(session, message).then(
    (target) => {
      executor.actor = target;
      session.head.send({ type: 'actorStarted', actorId: message.actorId, incarnation: message.incarnation });
    },
    (error: unknown) => {
      const { tag, bytes } = encodeThrown(session.serializer, error);
      session.head.send({ type: 'actorStartFailed', actorId: message.actorId, incarnation: message.incarnation, error: Buffer.concat([Buffer.of(tag), bytes]) });
    },
  );
}

await session.connect({ headTarget: config.headTarget, daemonTarget: `unix:${config.daemonUnixPath}`, token: config.token, jobId: '', queue: '', priority: 0, listenHost: config.host });
