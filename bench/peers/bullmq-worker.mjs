/** The no-op task, in BullMQ's worker process. Its one argument is the path of the socket of Redis. */
import { Worker } from 'bullmq';

const worker = new Worker('echo', async (job) => job.data, {
  connection: { path: process.argv[2], maxRetriesPerRequest: null },
  concurrency: 100,
});
await worker.waitUntilReady();
process.once('disconnect', () => worker.close(true));
process.send('ready');
