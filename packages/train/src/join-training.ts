/** A training in a gang that somebody else has made, such as a trial of a sweep. */
import { requireNames } from '@muster/base';
import { context } from '@muster/core';
import { checkpointPlan, type CheckpointOptions } from './checkpoint-plan.js';
import { invalidArgument } from './failure.js';
import { checkDevice, runRank, type RankFunction, type TrainingDevice } from './rank.js';
import { meshShape, type MeshOptions } from './parallel/mesh.js';
import type { StepRecord } from './training.js';

export interface JoinOptions extends CheckpointOptions, Pick<MeshOptions, 'mesh'> {
  /** Threads that this rank computes with; 1 unless told otherwise. */
  readonly threads?: number;
  /** Where this rank trains: on the CPU unless told otherwise, or on the first GPU that its process sees. */
  readonly device?: TrainingDevice;
  /** Hears of every step, at every rank; numbers are means over the ranks. */
  readonly onStep?: (record: StepRecord) => void;
}

/** How many this process has joined: members of a gang, which all join the same ones, agree on it. Trials of a sweep run in one gang one after another. */
let joined = 0;

/**
 * Runs a training's loop on this member of a gang: what {@link DataParallelTrainer} does on each member of its own. Every member calls it, with the same options.
 * Restarts are the gang's: a loop that is begun again goes on from the last checkpoint in `storage`.
 *
 * @example
 * await tune(async ({ learningRate }, trial) => {
 *   await joinTraining(async (rank) => {
 *     const training = await rank.train({ model, optimizer: new optim.AdamW(model.parameters(), { learningRate }) });
 *     ...
 *   }, { storage: `/shared/runs/trial-${trial.id}` });
 * }, { gang: { size: 4 }, space, metric: 'loss' });
 * @returns what the loop returns
 * @throws what it throws; CollectiveError where it failed at another rank; MusterError INVALID_ARGUMENT outside of a gang, TRAINING, STORAGE
 */
export async function joinTraining<R>(work: RankFunction<R>, options: JoinOptions = {}): Promise<R> {
  requireNames('joinTraining()', options, ['threads', 'device', 'onStep', 'mesh', 'storage', 'checkpoint']);
  const { threads = 1, device = 'cpu', onStep, mesh, ...checkpoints } = options;
  checkDevice(device);
  const { gang } = context();
  if (gang === undefined) throw invalidArgument('joinTraining() outside of a gang', 'called by every member of one: DataParallelTrainer makes a gang of its own');
  return runRank(work, { mesh: meshShape(mesh ?? { data: gang.size }), checkpoints: checkpointPlan(checkpoints), threads, device, name: `train-${++joined}` }, {
    report: (record) => onStep?.(record), unfetched: () => [], warn: (text) => console.warn(text),
  });
}
