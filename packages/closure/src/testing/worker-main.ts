/** The other process of the tests: revives functions, calls them, and answers with what they give, as text or captured again. */
import { inspect } from 'node:util';
import { capture, preload, revive } from '../index.js';
import type { WorkerReply, WorkerRequest } from './worker-process.js';

Object.assign(globalThis, { isWorker: true });

async function receive(bytes: Uint8Array): Promise<unknown> {
  await preload(bytes);
  return revive(bytes);
}

async function answer({ id, bytes, parameters = [], give = 'text' }: WorkerRequest): Promise<WorkerReply> {
  try {
    const fn = await receive(bytes) as (...parameters: unknown[]) => unknown;
    const value = give === 'itself' ? fn : await fn(...await Promise.all(parameters.map(receive)));
    return give === 'text' ? { id, text: inspect(value, { depth: 9, breakLength: Infinity }) } : { id, value: capture(value) };
  } catch (error) {
    return { id, thrown: capture(error), message: error instanceof Error ? error.stack ?? error.message : String(error) };
  }
}

process.on('message', (request: WorkerRequest) => {
  void answer(request).then((reply) => process.send?.(reply));
});
process.send?.('ready');
