/** Piscina: a pool of two worker threads in this process, with the settings that made it fastest. */
import { Piscina } from 'piscina';
import { measurePeer, pinnedVersion, TASK_MEASUREMENTS } from './measure.mjs';

await measurePeer({
  peer: `piscina ${pinnedVersion('piscina')}`,
  measurements: TASK_MEASUREMENTS,
  async open() {
    const pool = new Piscina({
      filename: new URL('piscina-worker.mjs', import.meta.url).href,
      minThreads: 2,
      maxThreads: 2,
      // By default a thread gets its next task when it has answered the last one, which is slower for tasks this small.
      concurrentTasksPerWorker: 1_000,
      atomics: 'disabled',
    });
    const call = () => pool.run(1);
    return {
      call,
      callMany: (count) => Promise.all(Array.from({ length: count }, call)),
      close: () => pool.destroy(),
    };
  },
});
