/** A worker process: started by its node's daemon, told on stdin who it is, and ended with it. */
import { readSync } from 'node:fs';
import type { JobId } from '@muster/base';
import { Arena, dieWithParent } from '@muster/native';
import type { StartActor, WorkerCommand, WorkerLine } from '@muster/protocol';
import { provideContext, Session, sessionForms, setSession } from '@muster/core/internal';
import type { Receiver } from '../machine/ports.js';
import { Worker } from '../machine/worker.js';
import { startActor } from './actor-start.js';
import { markOutput } from './output.js';
import { preemptedError, UserCode } from './user-code.js';

/** Reads the first line of stdin, and nothing more. */
function readLine(): WorkerLine {
  const line: number[] = [];
  const byte = Buffer.alloc(1);
  while (readByte(byte) && byte[0] !== 0x0a) line.push(byte[0]!);
  if (line.length === 0) process.exit(0); // the process that started it did not become a daemon
  return JSON.parse(Buffer.from(line).toString('utf8')) as WorkerLine;
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
const config = readLine();
process.stdin.on('end', () => process.exit(0)).on('error', () => process.exit(0)).resume(); // the daemon is gone

/** Aborts when the present lease ends early: for code that runs outside of tasks and calls, such as an actor's constructor. */
let lifetime = new AbortController();

const session: Session = new Session({
  processId: config.workerId, isDriver: false, socketPath: `${config.nodeFolder}/${config.workerId}.sock`, entrypoint: '',
  handlers: { 'Peer.Tasks': (stream, metadata) => worker.admission.serve(stream, metadata) },
  special: sessionForms, onLog: null, onHeadMessage: (message) => worker.fromHead(message), onCommand: (command) => worker.command(command),
  onClosed: (failure) => {
    process.stderr.write(`muster: ${failure.message}\n`);
    process.exit(1);
  },
});
const code = new UserCode({ session, executor: () => worker.executor, refuse: (line, error) => worker.admission.end(line, error) });
const worker: Worker = new Worker({
  workerId: config.workerId, code,
  whenHeardDaemon: (heard, lost) => void session.store.sync().then(heard, lost),
  ports: {
    exit: () => process.exit(0),
    leased, construct,
    preempted: (what, preemption) => lifetime.abort(preemptedError(what, preemption)),
    encodeThrown: (error) => code.encodeThrown(error),
    toHead: (message) => session.head.send(message),
  },
});
markOutput(() => code.outputName);
if (config.progressOffset >= 0) worker.executor.progress = new Float64Array(Arena.open(config.arenaPath).share(config.progressOffset, 2 * Float64Array.BYTES_PER_ELEMENT));
setSession(session);
provideContext(() => {
  const { lease, actorId, gang } = worker;
  const running = code.current;
  return {
    jobId: session.jobId, nodeId: session.nodeId, taskId: code.currentTaskId, actorId,
    gpuIds: lease?.gpuIds ?? [], placementGroup: lease?.bundle ? { id: lease.bundle.groupId, bundle: lease.bundle.index } : null,
    attempt: (running?.attempt ?? 0) + 1, signal: running ? code.signalOf(running) : lifetime.signal, ...(gang !== null && { gang }),
  };
});

function leased(lease: WorkerCommand | null): void {
  session.capturedBy = lease?.bundle?.capturesChildren ? lease.bundle.groupId : '';
  lifetime = new AbortController();
  if (!lease) return;
  session.jobId = lease.jobId as JobId;
  process.env['CUDA_VISIBLE_DEVICES'] = lease.gpuIds.join(',');
}

function construct(message: StartActor, { done, failed }: Receiver<readonly string[]>): void {
  code.lastBegun = { name: message.name || message.className };
  void startActor(session, message).then(({ instance, methods }) => {
    code.instance = instance;
    done(methods);
  }, failed);
}

await session.connect({ headTarget: config.headTarget, daemonTarget: `unix:${config.daemonUnixPath}`, token: config.token, jobId: '', queue: '', priority: 0, listenHost: config.host });
