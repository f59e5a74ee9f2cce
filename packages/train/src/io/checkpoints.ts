/** How ranks write and read a checkpoint together. Their models are equal: rank 0's is the one that is kept. */
import type { Communicator } from '@muster/collective';
import { encodeState, restoreState, type Progress, type Trained } from '../training-state.js';
import type { CheckpointFolder } from './checkpoint-folder.js';

interface Saving {
  readonly folder: CheckpointFolder;
  readonly keep: number;
  readonly communicator: Communicator;
}

/** Resolves at every rank when the checkpoint is on the disk. @throws MusterError STORAGE at rank 0, and CollectiveError at the others */
export async function saveCheckpoint(trained: Trained, progress: Progress, { folder, keep, communicator }: Saving): Promise<void> {
  if (communicator.rank === 0) {
    try {
      const file = await folder.write(progress.step, 0, [encodeState(trained, progress)]);
      await folder.commit(progress.step, [file], keep);
    } catch (error) {
      communicator.abort(`rank 0 could not save step ${progress.step}`);
      throw error;
    }
  }
  await communicator.barrier();
}

/**
 * Has every rank go on from the newest checkpoint that all of them can read. @returns where the training is; null: there is none
 * @throws MusterError INVALID_ARGUMENT for the checkpoint of another model; CollectiveError
 */
export async function loadLatest(trained: Trained, folder: CheckpointFolder, { communicator, warn }: { readonly communicator: Communicator; readonly warn: (text: string) => void }): Promise<Progress | null> {
  if (communicator.rank === 0) await folder.sweep();
  await communicator.barrier();
  const { whole, damaged } = await folder.list();
  const tell = communicator.rank === 0 ? warn : () => {};
  for (const text of damaged) tell(`a checkpoint is left out: ${text}`);
  for (const manifest of whole) {
    const file = await folder.read(manifest, 0).catch((error: unknown) => {
      warn(`a checkpoint is left out: ${error instanceof Error ? error.message : String(error)}`);
      return null;
    });
    const isReadable = Int32Array.of(file === null ? 0 : 1);
    await communicator.allReduce(isReadable, { op: 'min' });
    if (isReadable[0] === 1) return restoreState(trained, file!);
  }
  return null;
}
