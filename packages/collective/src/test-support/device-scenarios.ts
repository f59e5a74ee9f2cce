/** What the ranks of a test do with memory on a GPU, by name. */
import { openCuda, type CudaArray, type CudaLibrary, type CudaStream } from '@muster/native/cuda';
import type { CallArray, Communicator, Dtype, Group, NumberArray, Reduction } from '../index.js';
import { failureOf, type Line } from './scenarios.js';

const ARRAYS = { f32: Float32Array, f16: Uint16Array, bf16: Uint16Array, f64: Float64Array, i64: BigInt64Array, i32: Int32Array, u8: Uint8Array } as const;
type DeviceDtype = keyof typeof ARRAYS;

/** One of the GPU, or what stands for it, and a stream. */
export class Gpu {
  readonly library: CudaLibrary;
  readonly stream: CudaStream;

  constructor() {
    const cuda = openCuda();
    if (!cuda.available) throw new Error(cuda.reason);
    this.library = cuda;
    this.stream = cuda.createStream();
  }

  /** A copy of an array's elements, which lie `padding` bytes behind their buffer's start. */
  place(values: NumberArray, dtype: DeviceDtype, padding = 256): CudaArray {
    const buffer = this.library.allocate(values.byteLength + padding);
    this.library.writeNow(buffer, padding, bytesOf(values), this.stream);
    return { buffer, offsetBytes: padding, length: values.length, dtype, stream: this.stream, device: 0, owner: this };
  }

  read({ buffer, offsetBytes, length, dtype }: CudaArray): NumberArray {
    const values = new ARRAYS[dtype](length);
    this.library.readNow(buffer, offsetBytes, bytesOf(values), this.stream);
    return values;
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: NumberArray): Uint8Array => new Uint8Array(buffer, byteOffset, byteLength);

/** Numbers of a small range, so that 16 bits hold most sums; each rank's are its own. */
function numbersOf(dtype: DeviceDtype, length: number, seed: number): NumberArray {
  const at = (index: number): number => ((index * 7919 + seed * 104_729) % 251) / 8 - 15;
  const period = Math.min(length, 4001);
  const numbers = new ARRAYS[dtype](length) as Float32Array;
  const first = toDtype(dtype, Float32Array.from({ length: period }, (_, index) => at(index))) as Float32Array;
  for (let start = 0; start < length; start += period) numbers.set(first.subarray(0, Math.min(period, length - start)), start);
  return numbers;
}

function toDtype(dtype: DeviceDtype, values: Float32Array): NumberArray {
  if (dtype === 'i64') return BigInt64Array.from(values, (value) => BigInt(Math.round(value)));
  if (dtype === 'bf16') return Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16);
  if (dtype === 'f16') return Uint16Array.from(values, (value) => 0x3c00 + ((value + 15) * 8)); // from 1 to 1.25
  return (ARRAYS[dtype] as typeof Float32Array).from(values, (value) => (dtype === 'u8' ? Math.abs(Math.round(value)) : dtype === 'i32' ? Math.round(value) : value));
}

/** A collective call of one source and, where it has one, another target. */
interface Trial {
  readonly name: string;
  readonly dtype: DeviceDtype;
  readonly source: NumberArray;
  readonly targetLength: number | null;
  readonly call: (to: Group, source: CallArray, target: CallArray, options: { readonly dtype: Dtype }) => void;
}

/** Every kind of call, with sizes that go in one shot, in two and in several parts. */
function* trials({ rank, size }: Communicator): Generator<Trial> {
  let seed = 0;
  const reductions: readonly Reduction[] = ['sum', 'average', 'min', 'max', 'product'];
  for (const dtype of ['f32', 'f16', 'bf16', 'f64', 'i64', 'i32', 'u8'] as const) {
    for (const length of [0, 1, 1003, 70_000]) {
      const op = reductions[seed++ % 5]!;
      const own = (count: number): NumberArray => numbersOf(dtype, count, seed * 31 + rank);
      yield { name: `allReduce ${op}`, dtype, source: own(length), targetLength: null, call: (to, source, _, options) => to.allReduce(source, { ...options, op }) };
      yield { name: `allReduce ${op} apart`, dtype, source: own(length), targetLength: length, call: (to, source, target, options) => to.allReduce(source, { ...options, op, target }) };
      yield { name: 'reduce', dtype, source: own(length), targetLength: length, call: (to, source, target, options) => to.reduce(source, { ...options, target, root: size - 1 }) };
      yield { name: 'reduceScatter', dtype, source: own(length * size), targetLength: length, call: (to, source, target, options) => to.reduceScatter(source, target, options) };
      yield { name: 'allGather', dtype, source: own(length), targetLength: length * size, call: (to, source, target, options) => to.allGather(source, target, options) };
      yield { name: 'allToAll', dtype, source: own(length * size), targetLength: length * size, call: (to, source, target, options) => to.allToAll(source, target, options) };
      yield { name: 'broadcast', dtype, source: own(length), targetLength: null, call: (to, source, _, options) => to.broadcast(source, { ...options, root: size - 1 }) };
    }
  }
  yield { name: 'in several parts', dtype: 'bf16', source: numbersOf('bf16', 17 * 2 ** 20 + 3, rank), targetLength: null, call: (to, source, _, options) => to.allReduce(source, options) };
}

export const deviceScenarios = {
  /** Compares every call's result with that of the same call of host memory, bit by bit. */
  async 'every call of GPU memory'(communicator: Communicator) {
    const gpu = new Gpu();
    const differences: string[] = [];
    let calls = 0;
    for (const { name, dtype, source, targetLength, call } of trials(communicator)) {
      const options = { dtype };
      const onGpu = gpu.place(source, dtype);
      const empty = new ARRAYS[dtype](targetLength ?? 0);
      const [target, targetOnGpu] = targetLength === null ? [source, onGpu] : [empty.slice(), gpu.place(empty, dtype, 64)];
      await communicator.group((group) => call(group, source, target, options));
      if (calls++ % 2 === 0) await communicator.group((group) => call(group, onGpu, targetOnGpu, options));
      else call(communicator.blocking, onGpu, targetOnGpu, options);
      const found = gpu.read(targetOnGpu);
      if (Buffer.compare(bytesOf(found), bytesOf(target)) !== 0) {
        const at = (found as Float32Array).findIndex((value, index) => !Object.is(value, target[index]));
        differences.push(`${name} of ${source.length} ${dtype}: at ${at} ${found[at]}, not ${target[at]}`);
      }
      for (const { buffer } of new Set([onGpu, targetOnGpu])) gpu.library.free(buffer);
    }
    return { differences, way: communicator.deviceWay };
  },

  async 'in place, in a group and at once'(communicator: Communicator) {
    const gpu = new Gpu();
    const { rank, size } = communicator;
    const parts = gpu.place(Float32Array.from({ length: 2 * size }, (_, index) => index + rank), 'f32');
    const own: CudaArray = { ...parts, offsetBytes: parts.offsetBytes + 8 * rank, length: 2 };
    await communicator.reduceScatter(parts, own);
    await communicator.allGather(own, parts);
    const [mine, theirs] = [gpu.place(Int32Array.of(rank), 'i32'), gpu.place(Int32Array.of(-1), 'i32')];
    const hostTheirs = new Float64Array(1);
    await communicator.group((group) => {
      group.recv(theirs, { from: (rank + size - 1) % size });
      group.recv(hostTheirs, { from: (rank + size - 1) % size });
      group.send(mine, { to: (rank + 1) % size });
      group.send(Float64Array.of(10 * rank), { to: (rank + 1) % size });
    });
    const many = Array.from({ length: 40 }, (_, call) => gpu.place(Float32Array.of(call), 'f32'));
    const host = Float32Array.of(1);
    await Promise.all(many.flatMap((each) => [communicator.allReduce(each), communicator.allReduce(host)]));
    communicator.blocking.allReduce(own, { op: 'max' });
    return { parts: [...gpu.read(parts)], theirs: [...gpu.read(theirs), ...hostTheirs], many: many.every((each, call) => gpu.read(each)[0] === call * size), host: host[0] === size ** 40 };
  },

  async 'ranks disagree about GPU memory'(communicator: Communicator) {
    const gpu = new Gpu();
    await communicator.allReduce(gpu.place(Float32Array.of(1), 'f32'));
    return failureOf(communicator.allReduce(gpu.place(new Float32Array(1000 - communicator.rank), 'f32')));
  },

  async 'one rank has GPU memory, and the other not'(communicator: Communicator) {
    return failureOf(communicator.allReduce(communicator.rank === 0 ? new Gpu().place(new Float32Array(1000), 'f32') : new Float32Array(1000)));
  },

  async 'a rank with GPU memory dies'(communicator: Communicator) {
    const gpu = new Gpu();
    const array = gpu.place(new Float32Array(1000).fill(1), 'f32');
    await communicator.allReduce(array);
    if (communicator.rank === 1) process.kill(process.pid, 'SIGKILL');
    const first = await failureOf(communicator.allReduce(array));
    return { first, next: await failureOf((async () => communicator.blocking.broadcast(array))()) };
  },

  async 'a rank with GPU memory comes late'(communicator: Communicator, { say, told }: Line) {
    const array = new Gpu().place(new Float32Array(1000), 'f32');
    await communicator.allReduce(array);
    if (communicator.rank === 1) await told;
    const failure = await failureOf(communicator.allReduce(array));
    say('gave up');
    return failure;
  },

  async 'what GPU memory cannot be'(communicator: Communicator) {
    const gpu = new Gpu();
    const array = gpu.place(new Float32Array(8), 'f32', 0);
    const other: CudaArray = { ...array, device: 1 };
    const messages = await Promise.all([
      failureOf(communicator.allReduce(array, { dtype: 'bf16' })),
      failureOf(communicator.allReduce(array, { target: new Float32Array(8) })),
      failureOf(communicator.allReduce({ ...array, offsetBytes: 64 })),
      failureOf(communicator.allReduce({ ...array, offsetBytes: 4 })),
      failureOf(communicator.allReduce({ ...array, offsetBytes: 2, length: 4 })),
      failureOf(communicator.allReduce({ ...array, stream: array.buffer } as never)),
      failureOf(communicator.allReduce({ ...array, device: 7 })),
      failureOf(communicator.group((group) => { group.allReduce(array); group.allReduce(other); })),
    ]);
    const pending = communicator.allReduce(array);
    const busy = await failureOf((async () => gpu.library.free(array.buffer))());
    await pending;
    gpu.library.free(array.buffer);
    return [...messages, busy, await failureOf(communicator.allReduce(array))];
  },
} satisfies Record<string, (communicator: Communicator, line: Line) => Promise<unknown>>;
