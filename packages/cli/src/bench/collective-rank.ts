/** One rank of the JavaScript part of `cluster bench collective`: rank 0 sends its parent a record. */
import { createCommunicator } from '@muster/collective';
import { dieWithParent } from '@muster/native';
import { median } from './measure.js';

const ROUNDS = 41;
const CALLS = 2000;
const ELEMENTS = 256;

dieWithParent(process.ppid);
const [id = '', rank, size] = process.argv.slice(2);
const communicator = await createCommunicator({ id, rank: Number(rank), size: Number(size) });
const values = new Float32Array(ELEMENTS);
const us: number[] = [];
for (let round = 0; round < ROUNDS; round++) {
  const startMs = performance.now();
  for (let call = 0; call < CALLS; call++) await communicator.allReduce(values);
  us.push(((performance.now() - startMs) * 1000) / CALLS);
}
if (communicator.rank === 0) process.send?.({ name: 'allReduce f32 1 KiB, 2 ranks, JavaScript', value: median(us), unit: 'us', better: 'lower' });
communicator.close();
process.disconnect();
