/**
 * A worker without @muster/worker: it joins its daemon as the real one does, and then does what a test tells it over Peer.Tasks, one
 * JSON command a frame. Run as a program.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { Arena, dieWithParent } from '@muster/native';
import type { WorkerCommand, WorkerLine } from '@muster/protocol';
import { RpcServer } from '@muster/protocol/rpc';
import { StoreSession } from './store-session.js';

/** What a fake worker can be told to do. */
export type Order =
  | { readonly do: 'print'; readonly chunks: readonly string[]; readonly toStderr?: boolean }
  | { readonly do: 'exit'; readonly code: number }
  | { readonly do: 'fill-heap' }
  /** Starts a process that outlives the worker, if nobody ends it. */
  | { readonly do: 'start-child' }
  /** Holds an unsealed block and a pinned object. */
  | { readonly do: 'hold'; readonly objectId: string; readonly sizeBytes: number }
  /** Counts tasks on the daemon's board. */
  | { readonly do: 'begin-tasks'; readonly count: number }
  | { readonly do: 'report-command' };

let lastCommand: WorkerCommand | null = null;
let board: WorkerLine;

async function main(line: WorkerLine): Promise<void> {
  board = line;
  const unixPath = `${line.nodeFolder}/${line.workerId}.sock`;
  let session: StoreSession | null = null;
  const server = new RpcServer({
    token: line.token, self: line.workerId,
    handlers: {
      'Peer.Tasks': (stream) => {
        stream.onMessage = (bytes) => void carryOut(JSON.parse(Buffer.from(bytes).toString()) as Order, session!).then(
          (answer) => stream.send(Buffer.from(JSON.stringify(answer))));
        stream.onEnd = () => {};
      },
    },
  });
  await server.listenUnix(unixPath);
  session = await StoreSession.connect({
    target: `unix:${line.daemonUnixPath}`, token: line.token, processId: line.workerId, endpoint: { nodeId: line.nodeId, unixPath, host: '', port: 0 },
    onCommand: (command) => { lastCommand = command; },
    onEnd: () => process.exit(1),
  });
}

async function carryOut(order: Order, session: StoreSession): Promise<unknown> {
  switch (order.do) {
    case 'print':
      for (const chunk of order.chunks) (order.toStderr ? process.stderr : process.stdout).write(chunk);
      return 'printed';
    case 'exit': return process.exit(order.code);
    case 'fill-heap': {
      const kept: number[][] = [];
      for (;;) kept.push(new Array<number>(1e5).fill(kept.length));
    }
    case 'start-child': return spawn('sleep', ['1000'], { stdio: 'ignore' }).pid;
    case 'hold':
      await session.put(order.objectId, Buffer.alloc(order.sizeBytes, 1));
      await session.fetch(order.objectId, order.sizeBytes);
      return (await session.allocate(order.sizeBytes)).offset;
    case 'begin-tasks': {
      const arena = Arena.open(board.arenaPath);
      arena.write(board.progressOffset, new Uint8Array(Float64Array.of(order.count).buffer));
      arena.close();
      return order.count;
    }
    case 'report-command': return lastCommand;
  }
}

dieWithParent(process.ppid);
process.stdin.on('end', () => process.exit(0));
createInterface({ input: process.stdin }).once('line', (line) => void main(JSON.parse(line) as WorkerLine));
