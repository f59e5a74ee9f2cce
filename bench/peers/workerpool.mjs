/** workerpool: a pool of two worker threads in this process. */
import { fileURLToPath } from 'node:url';
import workerpool from 'workerpool';
import { measurePeer, pinnedVersion, TASK_MEASUREMENTS } from './measure.mjs';

await measurePeer({
  peer: `workerpool ${pinnedVersion('workerpool')}`,
  measurements: TASK_MEASUREMENTS,
  async open() {
    const script = fileURLToPath(new URL('workerpool-worker.mjs', import.meta.url));
    const pool = workerpool.pool(script, { minWorkers: 2, maxWorkers: 2, workerType: 'thread' });
    const call = () => pool.exec('echo', [1]);
    return {
      call,
      callMany: (count) => Promise.all(Array.from({ length: count }, call)),
      close: () => pool.terminate(),
    };
  },
});
