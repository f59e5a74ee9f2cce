/**
 * The ceiling over every put of a large value: one thread copies 400 MB between two buffers whose pages have been
 * touched. GB are 1e9 bytes; each byte is counted once. The value is that of the median copy.
 */
import { measurePeer, median, repeat } from './measure.mjs';

const SIZE_BYTES = 400_000_000;

await measurePeer({
  peer: `memcpy, node ${process.versions.node}`,
  measurements: [
    copying('warm memcpy', ({ source, target }) => Buffer.from(source).copy(Buffer.from(target))),
    copying('warm memcpy float32array', ({ source, target }) => new Float32Array(target).set(new Float32Array(source))),
  ],
  async open() {
    const source = new ArrayBuffer(SIZE_BYTES);
    const target = new ArrayBuffer(SIZE_BYTES);
    Buffer.from(source).fill(1);
    Buffer.from(target).fill(2);
    return { source, target, close: async () => {} };
  },
});

function copying(name, copy) {
  return {
    names: [name],
    async run(subject, seconds) {
      const { samplesMs } = await repeat(() => copy(subject), seconds);
      return [{ name, value: SIZE_BYTES / 1e6 / median(samplesMs), unit: 'GB/s', better: 'higher' }];
    },
  };
}
