/** How ranks come to have the same model: they must mean the same one, and rank 0's numbers are everybody's. */
import type { CallArray, Communicator } from '@muster/collective';
import type { Tensor } from '@muster/tensor';
import { crc32 } from 'node:zlib';
import { invalidArgument } from './failure.js';
import type { ParameterPart } from './machine/parameter-part.js';
import type { TrainingOptions } from './training.js';

const ELEMENT_BYTES = { f64: 8, i64: 8, f32: 4, i32: 4, f16: 2, bf16: 2, u8: 1 } as const;

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

/**
 * Checks that all ranks step alike: replicas that do not drift apart, and nothing would tell.
 * @throws MusterError INVALID_ARGUMENT at every rank, which names what differs from rank 0
 */
export async function checkOptionsAgree(options: TrainingOptions, communicator: Communicator): Promise<void> {
  const { optimizer, accumulate = 1, clipGradNorm, zero, dtype, scaler, schedule } = options;
  const described = {
    optimizer: [optimizer.constructor.name, ...optimizer.groups.map((group) => group.options)], accumulate, clipGradNorm, zero, dtype, scaler: scaler?.state(), schedule: schedule !== undefined,
  };
  const own = Float64Array.from(Object.values(described), (value) => crc32(JSON.stringify(value) ?? ''));
  const all = new Float64Array(own.length * communicator.size);
  await communicator.allGather(own, all);
  for (const [name, index] of Object.keys(described).map((each, at) => [each, at] as const)) {
    for (let rank = 1; rank < communicator.size; rank++) if (all[rank * own.length + index] !== all[index]) throw invalidArgument(`the ${name} of rank ${rank}`, 'the same as that of rank 0, with the same options: else their models would drift apart');
  }
}

/** Makes every rank's tensors equal to rank 0's. */
export async function broadcastTensors(tensors: Iterable<Tensor>, communicator: Communicator): Promise<void> {
  const all = [...tensors];
  await communicator.group((group) => {
    for (const tensor of all) group.broadcast(bytesOf(tensor));
  });
  for (const { storage } of all) storage.version++;
}

/** Of any dtype. */
function bytesOf(tensor: Tensor): CallArray {
  const elements = tensor.elements();
  if (ArrayBuffer.isView(elements)) return new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength) as CallArray;
  return { ...elements, dtype: 'u8', length: elements.length * ELEMENT_BYTES[elements.dtype] };
}
