/**
 * The floor under every call between two processes: 8 bytes to another Node process and back, over a unix socket, with
 * nothing but node:net on both sides. Started with `echo SOCKET-PATH`, this program is the other process.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { measurePeer, sequential } from './measure.mjs';

const PING_SIZE_BYTES = 8;

if (process.argv[2] === 'echo') await serveEcho(process.argv[3]);
else {
  await measurePeer({
    peer: `unix socket, node ${process.versions.node}`,
    measurements: [sequential({ rateName: 'unix socket ping', p50Name: 'unix socket ping p50' })],
    open: openSocket,
  });
}

async function serveEcho(socketPath) {
  const server = createServer((socket) => socket.pipe(socket));
  server.listen(socketPath);
  await once(server, 'listening');
  process.once('disconnect', () => process.exit());
  process.send('listening');
}

async function openSocket() {
  const directory = mkdtempSync(join(tmpdir(), 'raw-socket-'));
  const socketPath = join(directory, 'echo.sock');
  const echo = fork(fileURLToPath(import.meta.url), ['echo', socketPath]);
  await once(echo, 'message');
  const socket = connect(socketPath);
  await once(socket, 'connect');
  rmSync(directory, { recursive: true }); // a connected socket needs no name

  const ping = Buffer.alloc(PING_SIZE_BYTES, 1);
  let missingBytes = 0;
  let resolvePing = () => {};
  socket.on('data', (chunk) => {
    missingBytes -= chunk.length;
    if (missingBytes === 0) resolvePing();
  });
  return {
    call: () => new Promise((resolve) => {
      resolvePing = resolve;
      missingBytes = PING_SIZE_BYTES;
      socket.write(ping);
    }),
    async close() {
      socket.destroy();
      echo.disconnect();
      await once(echo, 'exit');
    },
  };
}
