/**
 * Tensors in files: the safetensors format. A header of JSON says where in the rest each tensor lies; nothing in it can run.
 * Source: huggingface/safetensors, format of version 0.
 */
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { DTYPES, type Dtype } from './dtype.js';
import { invalid } from './failure.js';
import { fromMemory } from './factories.js';
import { RANK_MAX, sizeOf, type Shape } from './shape.js';
import { bytesOf, checkUsable, denseOf, type Tensor } from './tensor.js';

const NAMES: Readonly<Record<Dtype, string>> = { f32: 'F32', f16: 'F16', bf16: 'BF16', i32: 'I32', i64: 'I64', bool: 'BOOL' };
const DTYPES_BY_NAME = new Map(Object.entries(NAMES).map(([dtype, name]) => [name, dtype as Dtype]));

/** What other readers accept: a header beyond this is taken for damage. */
const HEADER_BYTES_MAX = 100_000_000;
const LENGTH_BYTES = 8;

/** What a file holds. */
export interface Safetensors {
  readonly tensors: Readonly<Record<string, Tensor>>;
  /** Free text by keys. */
  readonly metadata: Readonly<Record<string, string>>;
}

interface Entry {
  readonly dtype: string;
  readonly shape: Shape;
  readonly data_offsets: readonly [number, number];
}

/** The bytes of a file. @param metadata free text by keys */
export function toSafetensors(tensors: Readonly<Record<string, Tensor>>, metadata: Readonly<Record<string, string>> = {}): Uint8Array {
  // Larger elements first, so that all are aligned.
  const sorted = Object.entries(tensors).sort(([firstName, first], [secondName, second]) => DTYPES[second.dtype].bytes - DTYPES[first.dtype].bytes || (firstName < secondName ? -1 : 1));
  for (const [key, text] of Object.entries(metadata)) if (typeof text !== 'string') throw invalid(`the metadata '${key}' of a file of safetensors`, 'a string: other readers take nothing else');
  const entries: Record<string, Entry | Readonly<Record<string, string>>> = Object.keys(metadata).length === 0 ? {} : { __metadata__: metadata };
  let end = 0;
  for (const [name, tensor] of sorted) {
    checkUsable(`toSafetensors of '${name}'`, tensor);
    if (name === '__metadata__') throw invalid("a tensor named '__metadata__'", 'named otherwise');
    entries[name] = { dtype: NAMES[tensor.dtype], shape: tensor.shape, data_offsets: [end, end += bytesOf(tensor)] };
  }
  const text = new TextEncoder().encode(JSON.stringify(entries));
  const headerBytes = Math.ceil(text.length / LENGTH_BYTES) * LENGTH_BYTES;
  const file = new Uint8Array(LENGTH_BYTES + headerBytes + end).fill(0x20, LENGTH_BYTES, LENGTH_BYTES + headerBytes);  // padded with spaces
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes), true);
  file.set(text, LENGTH_BYTES);
  for (const [name, tensor] of sorted) {
    const dense = denseOf(tensor);
    const memory = dense.device.read(dense);
    file.set(new Uint8Array(memory.buffer, memory.byteOffset, memory.byteLength), LENGTH_BYTES + headerBytes + (entries[name] as Entry).data_offsets[0]);
    if (dense !== tensor) dense.dispose();
  }
  return file;
}

/** What a file holds, copied. @throws MusterError INVALID_ARGUMENT for what is none, or is damaged */
export function fromSafetensors(file: Uint8Array): Safetensors {
  const { entries, start } = headerOf(file);
  const { __metadata__: metadata = {}, ...rest } = entries;
  const tensors: Record<string, Tensor> = Object.create(null) as Record<string, Tensor>;
  for (const [name, entry] of Object.entries(rest)) tensors[name] = tensorOf(name, entry as Entry, file.subarray(start));
  return { tensors, metadata: metadata as Readonly<Record<string, string>> };
}

function headerOf(file: Uint8Array): { readonly entries: Readonly<Record<string, unknown>>; readonly start: number } {
  if (file.length < LENGTH_BYTES) throw damaged(`it has ${file.length} bytes`);
  const headerBytes = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  if (headerBytes > HEADER_BYTES_MAX || headerBytes > file.length - LENGTH_BYTES) throw damaged(`its header would have ${headerBytes} bytes of ${file.length}`);
  const start = LENGTH_BYTES + headerBytes;
  try {
    const entries = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(file.subarray(LENGTH_BYTES, start))) as Record<string, unknown> | null;
    if (typeof entries === 'object' && entries !== null && !Array.isArray(entries)) return { entries, start };
  } catch {
    // The same answer as for JSON of another kind.
  }
  throw damaged('its header is no object of JSON');
}

function tensorOf(name: string, entry: Entry, data: Uint8Array): Tensor {
  const dtype = DTYPES_BY_NAME.get(entry?.dtype);
  if (dtype === undefined) throw damaged(`'${name}' is of the dtype ${String(entry?.dtype)}, and it takes ${[...DTYPES_BY_NAME.keys()].join(', ')}`);
  const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  const { shape, data_offsets: offsets } = entry;
  if (!Array.isArray(shape) || shape.length > RANK_MAX || !shape.every(isCount)) throw damaged(`'${name}' has no shape`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) throw damaged(`'${name}' has no place`);
  const [begin, end] = offsets as unknown as readonly [number, number];
  const { bytes, Memory } = DTYPES[dtype];
  if (end > data.length || end - begin !== sizeOf(shape) * bytes) throw damaged(`'${name}' of [${shape.join(', ')}] cannot lie in bytes ${begin} to ${end} of ${data.length}`);
  const copy = new Uint8Array(data.subarray(begin, end));  // aligned; a Buffer's slice would be none
  return fromMemory(new Memory(copy.buffer, 0, sizeOf(shape)), shape, dtype);
}

function damaged(why: string): Error {
  return invalid(`a file of safetensors, of which ${why},`, 'whole, and as the format says');
}

/** Writes a file, whole or not at all. */
export async function saveSafetensors(path: string, tensors: Readonly<Record<string, Tensor>>, metadata: Readonly<Record<string, string>> = {}): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await writeFile(temporary, toSafetensors(tensors, metadata));
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Reads a file. @example model.loadStateDict((await loadSafetensors('model.safetensors')).tensors); */
export async function loadSafetensors(path: string): Promise<Safetensors> {
  return fromSafetensors(await readFile(path));
}
