/** How ranks write and read a checkpoint together. Their models are equal, and rank 0's is kept; of an optimizer whose state is cut into shards each rank keeps its own. */
import { makeError } from '@muster/base';
import type { Communicator } from '@muster/collective';
import { tidy, type nn } from '@muster/tensor';
import { encodeState, restoreState, type Progress, type TrainedShard } from '../training-state.js';
import type { CheckpointFile, CheckpointFolder, CheckpointManifest } from './checkpoint-folder.js';

interface Saving {
  readonly folder: CheckpointFolder;
  readonly keep: number;
  readonly communicator: Communicator;
}

/** Numbers that a rank tells of its file: whether it is written, its size and its checksum. */
const TOLD = 3;

/**
 * Resolves at every rank when the checkpoint is on the disk. One that cannot be written leaves nothing behind, and those before stay.
 * @throws MusterError TRAINING for weights that are not finite, which nothing could go on from; STORAGE at the rank that could not write, CollectiveError at the others
 */
export async function saveCheckpoint(trained: TrainedShard, progress: Progress, { folder, keep, communicator }: Saving): Promise<void> {
  const { rank, size } = communicator;
  const { step } = progress;
  const notFinite = firstNotFinite(trained.model);
  if (notFinite !== null) throw makeError('TRAINING', { what: `step ${step}`, cause: `the weights ${notFinite} are not finite after it, and were not saved` });
  const writers = trained.shards === null ? 1 : size;
  let file: CheckpointFile | null = null;
  let failure: unknown = null;
  try {
    if (rank < writers) file = await folder.write(step, rank, [encodeState(trained, progress, { hasModel: rank === 0 })]);
  } catch (error) {
    failure = error;
  }
  const told = new Float64Array(TOLD * size);
  await communicator.allGather(Float64Array.of(failure === null ? 1 : 0, file?.sizeBytes ?? 0, file?.crc32 ?? 0), told);
  const isWritten = Array.from({ length: size }, (_, each) => told[TOLD * each] === 1).every(Boolean);
  if (rank === 0) {
    if (isWritten) await folder.commit(step, Array.from({ length: writers }, (_, each) => ({ name: folder.fileOf(each), sizeBytes: told[TOLD * each + 1]!, crc32: told[TOLD * each + 2]! })), keep);
    else await folder.sweep();
  }
  if (failure !== null) throw failure;
  await communicator.barrier(); // those whose files are good wait here for the one whose is not, and hear why
}

/** The name of weights that hold an infinity or NaN. */
function firstNotFinite(model: nn.Module): string | null {
  for (const [name, parameter] of model.namedParameters()) {
    if (!Number.isFinite(tidy(() => parameter.detach().sum().item()))) return name;
  }
  return null;
}

/**
 * Has every rank go on from the newest checkpoint that all of them can read. @returns where the training is; null: there is none
 * @throws MusterError INVALID_ARGUMENT for the checkpoint of another model; CollectiveError
 */
export async function loadLatest(trained: TrainedShard, folder: CheckpointFolder, { communicator, warn }: { readonly communicator: Communicator; readonly warn: (text: string) => void }): Promise<Progress | null> {
  if (communicator.rank === 0) await folder.sweep();
  await communicator.barrier();
  const { whole, damaged } = await folder.list();
  const tell = communicator.rank === 0 ? warn : () => {};
  for (const text of damaged) tell(`a checkpoint is left out: ${text}`);
  for (const manifest of whole) {
    const problem = await firstProblem(folder, manifest);
    if (problem !== null) tell(`a checkpoint is left out: ${problem}`);
    const isReadable = Int32Array.of(problem === null ? 1 : 0);
    await communicator.allReduce(isReadable, { op: 'min' });
    if (isReadable[0] === 1) return restoreState(trained, filesOf(folder, manifest));
  }
  return null;
}

async function* filesOf(folder: CheckpointFolder, manifest: CheckpointManifest): AsyncGenerator<Uint8Array, void, undefined> {
  for (let rank = 0; rank < manifest.files.length; rank++) yield await folder.read(manifest, rank);
}

/** Why a checkpoint cannot be read here, if so. Reads it through: a rank must not begin to go on from one that others cannot. */
async function firstProblem(folder: CheckpointFolder, manifest: CheckpointManifest): Promise<string | null> {
  try {
    for await (const _ of filesOf(folder, manifest));
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
