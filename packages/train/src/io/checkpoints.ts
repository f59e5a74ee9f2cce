/** How ranks write and read a checkpoint together. Replicas are equal, and the first is kept; of an optimizer whose state is cut into shards each rank keeps its own. */
import { makeError } from '@muster/base';
import { tidy, type nn } from '@muster/tensor';
import { placeOf, type MeshShape } from '../machine/device-mesh.js';
import type { Mesh } from '../parallel/mesh.js';
import { encodeState, restoreState, type Progress, type TrainedPart } from '../training-state.js';
import type { CheckpointFile, CheckpointFolder, CheckpointManifest } from './checkpoint-folder.js';

interface Saving {
  readonly folder: CheckpointFolder;
  readonly keep: number;
  readonly mesh: Mesh;
  /** Whether replicas have shards of the optimizer's state. */
  readonly isSharded: boolean;
}

/** Which file of a checkpoint is a rank's, if it has one: those of the first replica come first. */
function fileNumber(rank: number, shape: MeshShape): number {
  const { data, pipeline, tensor } = placeOf(rank, shape);
  return (data * shape.pipeline + pipeline) * shape.tensor + tensor;
}

/** Numbers that a rank tells of its file: whether it is written, its size and its checksum. */
const TOLD = 3;

/**
 * Resolves at every rank when the checkpoint is on the disk. One that cannot be written leaves nothing behind, and those before stay.
 * @throws MusterError TRAINING for weights that are not finite, which nothing could go on from; STORAGE at the rank that could not write, CollectiveError at the others
 */
export async function saveCheckpoint(trained: TrainedPart, progress: Progress, { folder, keep, mesh, isSharded }: Saving): Promise<void> {
  const { shape, world: { rank, size } } = mesh;
  const { step } = progress;
  const notFinite = firstNotFinite(trained.model);
  if (notFinite !== null) throw makeError('TRAINING', { what: `step ${step}`, cause: `the weights ${notFinite} are not finite after it, and were not saved` });
  const numbers = Array.from({ length: size }, (_, each) => fileNumber(each, shape));
  const files = isSharded ? size : shape.pipeline * shape.tensor;
  let file: CheckpointFile | null = null;
  let failure: unknown = null;
  try {
    if (numbers[rank]! < files) file = await folder.write(step, numbers[rank]!, [encodeState(trained, progress, { hasModel: mesh.place.data === 0 })]);
  } catch (error) {
    failure = error;
  }
  const told = new Float64Array(TOLD * size);
  await mesh.world.allGather(Float64Array.of(failure === null ? 1 : 0, file?.sizeBytes ?? 0, file?.crc32 ?? 0), told);
  const isWritten = Array.from({ length: size }, (_, each) => told[TOLD * each] === 1).every(Boolean);
  if (rank === 0) {
    const written = Array.from({ length: files }, (_, number) => ({ number, writer: numbers.indexOf(number) }));
    if (isWritten) await folder.commit(step, written.map(({ number, writer }) => ({ name: folder.fileOf(number), sizeBytes: told[TOLD * writer + 1]!, crc32: told[TOLD * writer + 2]! })), keep);
    else await folder.sweep();
  }
  if (failure !== null) throw failure;
  await mesh.world.barrier(); // those whose files are good wait here for the one whose is not, and hear why
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
export async function loadLatest(trained: TrainedPart, folder: CheckpointFolder, { mesh: { world }, warn }: { readonly mesh: Mesh; readonly warn: (text: string) => void }): Promise<Progress | null> {
  if (world.rank === 0) await folder.sweep();
  await world.barrier();
  const { whole, damaged } = await folder.list();
  const tell = world.rank === 0 ? warn : () => {};
  for (const text of damaged) tell(`a checkpoint is left out: ${text}`);
  for (const manifest of whole) {
    const problem = await firstProblem(folder, manifest);
    if (problem !== null) tell(`a checkpoint is left out: ${problem}`);
    const isReadable = Int32Array.of(problem === null ? 1 : 0);
    await world.allReduce(isReadable, { op: 'min' });
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
