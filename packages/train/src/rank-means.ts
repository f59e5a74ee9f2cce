/** Means over ranks of what each has measured, under the names that it gave them. */
import type { Communicator } from '@muster/collective';
import { crc32 } from 'node:zlib';
import { invalidArgument } from './failure.js';
import { HOLDING } from './gradient-reducer.js';

/** Numbers travel in multiples of so many, so that ranks with some more or less of them still meet, and can say so. */
const NUMBERS_STEP = 16;

/**
 * Every rank calls it. What is measured may have another order at each rank, but not other names.
 * @throws MusterError INVALID_ARGUMENT where names differ; CollectiveError
 */
export async function rankMeans(measured: ReadonlyMap<string, number>, communicator: Communicator): Promise<Record<string, number>> {
  const names = [...measured.keys()].sort();
  const checksum = crc32(names.join('\n'));
  const means = new Float64Array(Math.ceil((1 + names.length) / NUMBERS_STEP) * NUMBERS_STEP);
  means.set([checksum, ...names.map((name) => measured.get(name)!)]);
  await communicator.allReduce(means, { ...HOLDING, op: 'average' });
  if (Math.abs(means[0]! - checksum) > 0.5) throw invalidArgument(`what rank ${communicator.rank} measures, ${names.join(', ')},`, 'of the same names at every rank');
  return Object.fromEntries(Array.from(measured.keys(), (name) => [name, means[1 + names.indexOf(name)]!]));
}
