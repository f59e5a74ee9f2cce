/** One rank of a training, as the user's function sees it, and the actor in which that runs. */
import { requireNames } from '@muster/base';
import type { Communicator } from '@muster/collective';
import { context } from '@muster/core';
import { GradScaler, nn, optim, setThreads, zeros, type DeviceName } from '@muster/tensor';
import { DataLoader, type LoaderOptions } from './data/data-loader.js';
import type { Columns, Dataset } from './data/dataset.js';
import { invalidArgument } from './failure.js';
import { CheckpointFolder } from './io/checkpoint-folder.js';
import type { MeshShape } from './machine/device-mesh.js';
import { Mesh } from './parallel/mesh.js';
import { Training, type StepRecord, type TrainingOptions, type TrainingPlace } from './training.js';

/** Records that the driver has not fetched yet; older ones are forgotten: it asks several times a second. */
const RECORDS_KEPT_MAX = 10_000;

/** Where a rank is, and what it trains with. */
export interface Rank {
  /** From 0 to size - 1. */
  readonly rank: number;
  readonly size: number;
  /** Counts the starts of the training, from 1: above 1 a rank had died. */
  readonly incarnation: number;
  /** Where this rank lies among the others, and its lines to them: layers in parts take `mesh.tensor` for their group, pipelines the mesh. */
  readonly mesh: Mesh;
  /** Where this rank trains: models go there, `model.to(rank.device)`, before their optimizers are made, and batches, `tensor(columns.x, { device: rank.device })`. */
  readonly device: DeviceName;
  /** For what the training itself does not do: of all ranks, which make the same calls. */
  readonly communicator: Communicator;
  /** Reads this rank's share of a dataset: that of its place on the data axis. Ranks that hold one replica between them read the same. */
  loader<C extends Columns>(dataset: Dataset<C>, options: Omit<LoaderOptions, 'rank' | 'ranks'>): DataLoader<C>;
  /** Makes the ranks' models equal, from the last checkpoint if there is one. Once a run, by every rank. */
  train(options: TrainingOptions): Promise<Training>;
}

/** What each rank runs. Its result is a value of the training's results. */
export type RankFunction<R> = (rank: Rank) => Promise<R>;

/** Where ranks train. */
export type TrainingDevice = 'cpu' | 'cuda';

/** @throws MusterError INVALID_ARGUMENT */
export function checkDevice(device: TrainingDevice | undefined): void {
  if (device !== undefined && device !== 'cpu' && device !== 'cuda') throw invalidArgument(`device: ${JSON.stringify(device)}`, "'cpu' or 'cuda', which is each rank's own GPU");
}

/** What a trainer tells its ranks. */
export interface RankOptions {
  readonly mesh: MeshShape;
  readonly checkpoints: { readonly path: string; readonly everySteps: number; readonly keep: number } | null;
  /** 'cuda': each rank's own GPU, the first that its process sees. */
  readonly device: TrainingDevice;
  /** That native kernels of one rank use. */
  readonly threads: number;
  /** Tells the trainings of one start of a gang apart. */
  readonly name: string;
}

/** What happened on rank 0 since it was last asked. */
export interface RankNews {
  readonly records: readonly StepRecord[];
  readonly warnings: readonly string[];
}

/** Who hears of a training on one rank. */
export interface RankListener {
  /** Called after every step; numbers are means over the ranks. */
  readonly report: (record: StepRecord) => void;
  /** Reported steps that nobody knows of yet: a checkpoint keeps them. */
  readonly unfetched: () => readonly StepRecord[];
  /** Something that a person should read. */
  readonly warn: (text: string) => void;
}

const TRAINING_NAMES = ['model', 'optimizer', 'scaler', 'schedule', 'clipGradNorm', 'accumulate', 'zero', 'dtype'];

/** @throws MusterError INVALID_ARGUMENT for what is no option, and for parts of a training that are none */
function checkTrained(options: TrainingOptions): void {
  requireNames('rank.train()', options, TRAINING_NAMES);
  const { model, optimizer, scaler, schedule } = options;
  if (!(model instanceof nn.Module)) throw invalidArgument('model', 'an nn.Module');
  if (!(optimizer instanceof optim.Optimizer)) throw invalidArgument('optimizer', "one of optim, such as new optim.AdamW(model.parameters())");
  if (scaler !== undefined && !(scaler instanceof GradScaler)) throw invalidArgument('scaler', 'a GradScaler');
  if (schedule !== undefined && !(schedule instanceof optim.LRScheduler)) throw invalidArgument('schedule', 'an optim.LRScheduler');
}

/** Trains on this member of a gang, from the last checkpoint to the end. When it fails here it fails at every rank. @throws what the function throws */
export async function runRank<R>(work: RankFunction<R>, { mesh: shape, checkpoints, threads, name, device }: RankOptions, listener: RankListener): Promise<R> {
  const gang = context().gang!;
  setThreads(threads);
  using probe = zeros([1], { device }); // where there is no such device it fails before the ranks have met
  const { name: deviceName } = probe.device;
  const mesh = await Mesh.open(gang, shape, name);
  const folder = checkpoints && new CheckpointFolder(checkpoints.path);
  const place: TrainingPlace = { ...listener, mesh, device: deviceName, checkpoints: checkpoints && { ...checkpoints, folder: folder! } };
  let training: Training | null = null;
  const rank: Rank = {
    rank: gang.rank, size: gang.size, incarnation: gang.incarnation, mesh, device: deviceName, communicator: mesh.world,
    loader: (dataset, options) => new DataLoader(dataset, { ...options, rank: mesh.place.data, ranks: mesh.shape.data }),
    train: async (options) => {
      checkTrained(options);
      if (training !== null) throw invalidArgument('a second training of one run', 'one of its own: call fit() again, or train both in one model');
      return (training = await Training.begin(options, place));
    },
  };
  try {
    await folder?.prepare();
    return await work(rank);
  } catch (error) {
    mesh.abort(`rank ${gang.rank} failed: ${error instanceof Error ? error.message : String(error)}`);
    throw error;
  } finally {
    (training as Training | null)?.[Symbol.dispose]();
    mesh.close();
  }
}

/** A member of a trainer's gang. */
export class RankActor<R> {
  readonly #work: RankFunction<R>;
  readonly #options: RankOptions;
  #records: StepRecord[] = [];
  #warnings: string[] = [];

  constructor(work: RankFunction<R>, options: RankOptions) {
    this.#work = work;
    this.#options = options;
  }

  run(): Promise<R> {
    const isFirst = context().gang!.rank === 0;
    return runRank(this.#work, this.#options, {
      report: (record) => {
        if (!isFirst) return;
        if (this.#records.length === RECORDS_KEPT_MAX) this.#records.shift();
        this.#records.push(record);
      },
      unfetched: () => this.#records,
      warn: (text) => this.#warnings.push(text),
    });
  }

  news(): RankNews {
    const news = { records: this.#records, warnings: this.#warnings };
    this.#records = [];
    this.#warnings = [];
    return news;
  }
}
