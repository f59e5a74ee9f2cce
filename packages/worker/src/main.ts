/** A worker process: started by its node's daemon, told on stdin who it is, and ended with it. */
import { readSync } from 'node:fs';
import { makeError, type JobId, type ProcessId } from '@muster/base';
import { Arena, dieWithParent } from '@muster/native';
import { framePayload, type HeadToClient, type MessageStream, type WorkerCommand } from '@muster/protocol';
import { encodeThrown, provideContext, Session, sessionForms, setSession } from '@muster/core/internal';
import { startActor } from './actor-start.js';
import { CallerLine } from './caller-line.js';
import { Executor } from './executor.js';
import { markOutput } from './output.js';

/** How long a caller's stream may be ahead of the daemon's word that the caller has the lease. */
const LEASE_WAIT_MS = 5000;

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
let leaseChanged = (): void => {};

const session: Session = new Session({
  processId: config.workerId, isDriver: false, socketPath: `${config.nodeFolder}/${config.workerId}.sock`, entrypoint: '',
  handlers: { 'Peer.Tasks': (stream, metadata) => serve(stream, metadata) },
  special: sessionForms, onLog: null, onHeadMessage, onCommand,
  onClosed: (failure) => {
    process.stderr.write(`muster: ${failure.message}\n`);
    process.exit(1);
  },
});
const executor = new Executor(session);
executor.onName = markOutput();
if (config.progressOffset >= 0) executor.progress = new Float64Array(Arena.open(config.arenaPath).share(config.progressOffset, Float64Array.BYTES_PER_ELEMENT));
setSession(session);
provideContext(() => ({
  jobId: session.jobId, nodeId: session.nodeId, taskId: executor.currentTaskId(), actorId: executor.actor?.id ?? null,
  gpuIds: lease?.gpuIds ?? [], attempt: (executor.current?.attempt ?? 0) + 1, signal: executor.current?.signal ?? new AbortController().signal,
}));

function onCommand(command: WorkerCommand): void {
  if (command.exit) process.exit(0);
  lease = command.leaseId ? command : null;
  executor.progress[0] = 0;
  if (lease) {
    session.jobId = command.jobId as JobId;
    process.env['CUDA_VISIBLE_DEVICES'] = command.gpuIds.join(',');
  }
  leaseChanged();
}

function onHeadMessage(message: HeadToClient): void {
  if (message.type !== 'startActor') return;
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

/** Serves a caller's task stream: the holder of the lease, or any caller of the actor that lives here. */
function serve(stream: MessageStream<Uint8Array, Uint8Array>, metadata: (key: string) => string): void {
  const line = new CallerLine(metadata('caller-id'), metadata('lease-id'), (frame) => stream.send(frame));
  const early: Uint8Array[] = [];
  let isServed = false;
  const admit = (): boolean => {
    isServed = line.leaseId ? lease?.leaseId === line.leaseId : executor.actor !== null && executor.actor.id === metadata('actor-id');
    if (isServed) {
      executor.addLine(line);
      for (const frame of early.splice(0)) executor.receive(line, framePayload(frame));
    }
    return isServed;
  };
  stream.onMessage = (frame) => (isServed ? executor.receive(line, framePayload(frame)) : early.push(frame));
  stream.onEnd = () => {
    if (isServed) executor.removeLine(line);
  };
  if (admit()) return;
  const timer = setTimeout(() => {
    if (!isServed) stream.destroy(makeError('PROTOCOL', { what: line.callerId, cause: `it has no lease on ${config.workerId}` }));
  }, LEASE_WAIT_MS);
  const before = leaseChanged;
  leaseChanged = () => {
    before();
    if (!isServed && admit()) clearTimeout(timer);
  };
}

await session.connect({ headTarget: config.headTarget, daemonTarget: `unix:${config.daemonUnixPath}`, token: config.token, jobId: '', listenHost: config.host });
