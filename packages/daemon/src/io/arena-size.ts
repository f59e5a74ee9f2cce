/** How large the node's object store is. */
import { statfsSync } from 'node:fs';
import { totalmem } from 'node:os';
import { formatSizeBytes, makeError } from '@muster/base';
import { Arena, SEGMENT_BYTES } from '@muster/native';
import { sharedMemoryFolder } from './node-folder.js';

const MEMORY_SHARE = 0.3;
/** Of what shared memory has free: the rest is for other programs. */
const SHARED_MEMORY_SHARE = 0.9;
const DEFAULT_MAX_BYTES = 64 * 2 ** 30;

/** A third of this machine's or container's memory, if shared memory has as much. */
export function defaultObjectStoreBytes(): number {
  const memoryBytes = Math.min(totalmem(), process.constrainedMemory() || Infinity);
  return Math.floor(Math.min(memoryBytes * MEMORY_SHARE, sharedMemoryFreeBytes() * SHARED_MEMORY_SHARE, DEFAULT_MAX_BYTES));
}

/**
 * Makes the arena's file, with one more segment than the store gets: the progress board's.
 * @throws MusterError INVALID_ARGUMENT when there is not enough shared memory
 */
export function createArena(path: string, wantedBytes: number): Arena {
  const sizeBytes = Math.max(2, Math.ceil(wantedBytes / SEGMENT_BYTES) + 1) * SEGMENT_BYTES;
  try {
    return Arena.create(path, sizeBytes);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== 'ENOSPC' && code !== 'ERR_OUT_OF_RANGE') throw cause;
    throw makeError('INVALID_ARGUMENT', {
      what: `an object store of ${formatSizeBytes(wantedBytes)}`, want: `smaller: ${sharedMemoryFolder()} has ${formatSizeBytes(sharedMemoryFreeBytes())} free`,
    }, { cause });
  }
}

function sharedMemoryFreeBytes(): number {
  const { bavail, bsize } = statfsSync(sharedMemoryFolder());
  return bavail * bsize;
}
