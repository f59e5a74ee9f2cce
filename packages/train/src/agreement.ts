/** How ranks come to have the same model: they must mean the same one, and rank 0's numbers are everybody's. */
import type { Communicator, NumberArray } from '@muster/collective';
import type { Tensor } from '@muster/tensor';
import { crc32 } from 'node:zlib';
import { invalidArgument } from './failure.js';
import type { ParameterPart } from './machine/parameter-part.js';

/**
 * Checks that all ranks have tensors of the same names, shapes and dtypes in the same order; of a part of a tensor what counts is the whole.
 * @throws MusterError INVALID_ARGUMENT at every rank, which names one that differs from rank 0
 */
export async function checkAgreement(tensors: ReadonlyMap<string, Tensor>, parts: ReadonlyMap<string, ParameterPart>, communicator: Communicator): Promise<void> {
  const shapeOf = (name: string, { shape }: Tensor): readonly number[] => {
    const part = parts.get(name);
    return part === undefined ? shape : [part.panels, part.rows, part.elements];
  };
  const description = Array.from(tensors, ([name, tensor]) => `${name} ${tensor.dtype} [${shapeOf(name, tensor).join(', ')}]`);
  const all = new Float64Array(2 * communicator.size);
  await communicator.allGather(Float64Array.of(tensors.size, crc32(description.join('\n'))), all);
  for (let rank = 1; rank < communicator.size; rank++) {
    if (all[2 * rank] === all[0] && all[2 * rank + 1] === all[1]) continue;
    throw invalidArgument(`the model of rank ${rank}, with ${all[2 * rank]} tensors, beside that of rank 0 with ${all[0]}`, 'of the same names, shapes and dtypes at every rank');
  }
}

/** Makes every rank's tensors equal to rank 0's. */
export async function broadcastTensors(tensors: Iterable<Tensor>, communicator: Communicator): Promise<void> {
  const all = [...tensors];
  await communicator.group((group) => {
    for (const tensor of all) {
      const memory = tensor.memory();
      group.broadcast(new Uint8Array(memory.buffer, memory.byteOffset, memory.byteLength) as NumberArray);
    }
  });
  for (const { storage } of all) storage.version++;
}
