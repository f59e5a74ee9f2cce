/** Where a training's checkpoints go, and when: what a trainer and {@link joinTraining} both take. */
import { requireNames } from '@muster/base';
import { resolve } from 'node:path';
import { invalidArgument } from './failure.js';
import type { RankOptions } from './rank.js';

export interface CheckpointOptions {
  /** The folder of the checkpoints, which every rank must reach and may write to under this path; a training that is begun again goes on from the last one there. None: a restart begins anew. */
  readonly storage?: string;
  /** When one is written, and how many are kept: 2 unless told otherwise. Default: after every 100th step. */
  readonly checkpoint?: { readonly everySteps: number; readonly keep?: number };
}

const EVERY_STEPS = 100;
const KEPT = 2;

/** @throws MusterError INVALID_ARGUMENT */
export function checkpointPlan({ storage, checkpoint }: CheckpointOptions): RankOptions['checkpoints'] {
  if (storage !== undefined && (typeof storage !== 'string' || storage === '')) throw invalidArgument(`storage: ${JSON.stringify(storage)}`, 'the path of a folder');
  if (checkpoint !== undefined) requireNames('checkpoint', checkpoint, ['everySteps', 'keep']);
  const { everySteps = EVERY_STEPS, keep = KEPT } = checkpoint ?? {};
  if (!Number.isInteger(everySteps) || everySteps < 1 || !Number.isInteger(keep) || keep < 1) throw invalidArgument('checkpoint', 'everySteps and keep of one or more');
  if (checkpoint && storage === undefined) throw invalidArgument('checkpoint without storage', 'with the folder that checkpoints go to');
  return storage === undefined ? null : { path: resolve(storage), everySteps, keep };
}
