/** Bytes that objects are made of. */

/** Large enough for shared memory. */
export const BLOCK_BYTES = 300_000;

/** Bytes by which an object is known again. */
export function block(seed: number, sizeBytes = BLOCK_BYTES): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  for (let i = 0; i < 256; i++) bytes[i] = i * 31 + seed;
  for (let done = 256; done < sizeBytes; done *= 2) bytes.copyWithin(done, 0, done);
  return bytes;
}

/** Whether these are that block's bytes. */
export const isBlock = (bytes: Uint8Array, seed: number, sizeBytes = BLOCK_BYTES): boolean => Buffer.compare(bytes, block(seed, sizeBytes)) === 0;
