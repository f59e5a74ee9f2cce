/** GPUs as JavaScript has them: without a driver the reason, with one a copy there and back. What the kernels compute is tested in C++. */
import t from 'tap';
import { openCuda, type CudaLibrary } from '../cuda.js';
import { openCudaLibrary } from '../index.js';

const cuda = openCuda();

t.test('says why there is no GPU', { skip: cuda.available && 'there is one' }, async (t) => {
  if (cuda.available) return;
  t.match(cuda.reason, /driver|library|GPU/);
  t.same(openCuda(), cuda, 'and says it again');
  t.throws(() => openCudaLibrary(7 as unknown as string), TypeError);
});

t.test('copies to a device and back', { skip: cuda.available ? false : cuda.reason }, async (t) => {
  const library = cuda as CudaLibrary;
  t.match(library.devices[0], { name: String, memoryBytes: Number, computeCapability: /^\d+\.\d+$/ });
  const buffer = library.allocate(1000);
  const stream = library.createStream();
  const [start, end] = [library.createEvent(), library.createEvent()];
  const source = Uint8Array.from({ length: 600 }, (_, index) => index % 251);
  const target = new Uint8Array(600);
  library.recordEvent(start, stream);
  library.fill(buffer, 7, stream);
  await library.write(buffer, 100, source, stream);
  await library.read(buffer, 100, target, stream);
  library.recordEvent(end, stream);
  await library.waitForStream(stream, 10_000);
  t.same(target, source);
  t.ok(library.elapsedMs(start, end) >= 0);
  t.throws(() => library.write(buffer, 401, source, stream), RangeError);
  t.throws(() => library.useDevice(library.devices.length), RangeError);
  t.equal(library.sizeOf(buffer), 1000);
  library.free(buffer);
  t.throws(() => library.free(buffer), TypeError);
  t.throws(() => library.destroyStream(buffer as never), TypeError);
  library.destroyStream(stream);
  for (const event of [start, end]) library.destroyEvent(event);
});
