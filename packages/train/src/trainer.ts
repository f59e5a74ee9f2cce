/** A training from the driver's side: the gang, its restarts, and what is heard of it. */
import { requireNames } from '@muster/base';
import { gang, get, kill, MusterError, type GangHandle, type GangOptions } from '@muster/core';
import { checkpointPlan, type CheckpointOptions } from './checkpoint-plan.js';
import { invalidArgument } from './failure.js';
import { meshSize, type MeshShape } from './machine/device-mesh.js';
import { shapeOf, type MeshOptions } from './parallel/mesh.js';
import { TrainingProgress } from './progress.js';
import { checkDevice, RankActor, type RankFunction, type RankOptions, type TrainingDevice } from './rank.js';
import type { StepRecord } from './training.js';

const NEWS_INTERVAL_MS = 250;

const NAMES = [
  'ranks', 'mesh', 'device', 'threads', 'storage', 'checkpoint', 'progress', 'cpus', 'gpus', 'memory', 'resources', 'labels', 'strategy', 'topology', 'name', 'maxRestarts', 'timeoutMs',
  'waitForNodes',
];

export interface TrainerOptions extends MeshOptions, CheckpointOptions, Pick<GangOptions, 'cpus' | 'gpus' | 'memory' | 'resources' | 'labels' | 'strategy' | 'topology' | 'name' | 'maxRestarts' | 'timeoutMs' | 'waitForNodes'> {
  /** Where the ranks train: on the CPU unless told otherwise. With 'cuda' each asks for one GPU, or for as many as `gpus` says, less than one to share it, and trains on its first. */
  readonly device?: TrainingDevice;
  /** Threads that one rank computes with; its cpus, at least one, unless told otherwise. */
  readonly threads?: number;
  /** False: nothing is shown. Default: a line in the terminal. */
  readonly progress?: boolean;
}

export interface TrainingResult<R> {
  /** What the function returned, by rank. */
  readonly results: readonly R[];
  /** Every step in order; of one that was made again after a restart the last. */
  readonly history: readonly StepRecord[];
  /** How often the ranks started anew. */
  readonly restarts: number;
  /** What a person should know: checkpoints that were left out, for instance. */
  readonly warnings: readonly string[];
}

/**
 * Trains a model on several workers, each with its share of every batch: gradients are averaged over the ranks while backward passes go on, so that n ranks learn
 * what one would from batches n times as large. On a mesh ranks may hold a replica of the model between them, in parts of its layers and stages of a pipeline: see
 * {@link ColumnParallelLinear} and {@link PipelineParallel}.
 *
 * @example
 * const trainer = new DataParallelTrainer(async (rank) => {
 *   const model = new Net();
 *   const training = await rank.train({ model, optimizer: new optim.AdamW(model.parameters()) });
 *   const loader = rank.loader(digits, { batchSize: 64, seed: 1 });
 *   for await (const { columns } of training.batches(loader, { epochs: 3 })) await training.step(() => lossOf(model, columns));
 *   return accuracyOf(model);
 * }, { ranks: 2, storage: './runs/digits' });
 * const { results } = await trainer.fit();
 */
export class DataParallelTrainer<R> {
  readonly #work: RankFunction<R>;
  readonly #options: TrainerOptions;
  readonly #mesh: MeshShape;
  readonly #checkpoints: RankOptions['checkpoints'];

  /** @throws MusterError INVALID_ARGUMENT */
  constructor(work: RankFunction<R>, options: TrainerOptions) {
    if (typeof work !== 'function') throw invalidArgument(`a training by ${String(work)}`, 'by a function of a rank');
    requireNames('DataParallelTrainer', options, NAMES);
    checkDevice(options.device);
    this.#mesh = shapeOf(options);
    this.#checkpoints = checkpointPlan(options);
    this.#work = work;
    this.#options = options;
  }

  /**
   * Trains to the end. When a rank or its node dies, all ranks start anew from the last checkpoint.
   * @throws what the function throws at a rank; UnschedulableError, GangDiedError, CollectiveError; MusterError TRAINING, STORAGE
   */
  async fit(): Promise<TrainingResult<R>> {
    const { threads, progress = true, maxRestarts = 3, cpus = 1, device = 'cpu', ...placement } = this.#options;
    const options: RankOptions = { mesh: this.#mesh, checkpoints: this.#checkpoints, threads: threads ?? Math.max(1, Math.floor(cpus)), device, name: 'train' };
    const { gpus = device === 'cuda' ? 1 : undefined, memory, resources, labels, strategy, topology, name = 'training', timeoutMs, waitForNodes } = placement;
    const members = await gang(RankActor<R>, {
      gpus, memory, resources, labels, strategy, topology, timeoutMs, waitForNodes, name, cpus, size: meshSize(this.#mesh), maxRestarts, onFailure: 'restart-all', maxConcurrency: 2,
    } as GangOptions).create(this.#work as never, options);
    const view = progress ? new TrainingProgress() : null;
    using _ = view && tellsOfInterrupt(view, options.checkpoints?.path ?? null);
    try {
      return await runToTheEnd(members as unknown as Members<R>, { view, hasCheckpoints: options.checkpoints !== null });
    } finally {
      view?.close();
      await kill(members);
    }
  }
}

/** Has Ctrl-C leave a whole line behind, and what is to be done next. Then the process ends as it would have, and its cluster, or its job, with it. */
function tellsOfInterrupt(view: TrainingProgress, storage: string | null): Disposable {
  const interrupted = (): void => {
    process.off('SIGINT', interrupted);
    view.close();
    view.say(storage === null ? 'interrupted' : `interrupted: begun again, the training goes on from the last checkpoint in ${storage}`);
    if (process.listenerCount('SIGINT') === 0) process.kill(process.pid, 'SIGINT');
  };
  process.on('SIGINT', interrupted);
  return { [Symbol.dispose]: () => void process.off('SIGINT', interrupted) };
}

type Members<R> = GangHandle<RankActor<R>>;

interface Followed {
  readonly view: TrainingProgress | null;
  readonly hasCheckpoints: boolean;
}

async function runToTheEnd<R>(members: Members<R>, { view, hasCheckpoints }: Followed): Promise<TrainingResult<R>> {
  const history = new Map<number, StepRecord>();
  const warnings: string[] = [];
  const warn = (text: string): void => {
    warnings.push(text);
    view?.say(text);
  };
  const listen = async (): Promise<void> => {
    const { records, warnings: told } = await members.members[0]!.news();
    told.forEach(warn);
    for (const record of records) history.set(record.step, record);
    view?.records(records);
  };
  for (let restarts = 0; ; restarts++) {
    const refs = members.all.run.remote();
    let isOver = false;
    const ended = Promise.allSettled(refs.map((ref) => get(ref))).finally(() => { isOver = true; });
    while (!isOver) {
      await listen().catch(() => undefined); // a rank that died is heard of below
      await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, NEWS_INTERVAL_MS))]);
    }
    const outcomes = await ended;
    const failures = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
    if (failures.length === 0) {
      await listen();
      return { results: outcomes.map((outcome) => (outcome as PromiseFulfilledResult<R>).value), history: [...history.values()].sort((a, b) => a.step - b.step), restarts, warnings };
    }
    await listen().catch(() => undefined); // what came before the end, if rank 0 is there to tell
    const own = failures.find((failure) => !isOf(failure, 'ACTOR_UNAVAILABLE') && !isOf(failure, 'COLLECTIVE')); // the others only tell of it
    if (own !== undefined) throw own;
    const restart = failures.find((failure) => isOf(failure, 'ACTOR_UNAVAILABLE'));
    if (restart === undefined) throw failures[0];
    warn(`all ranks start anew, from ${hasCheckpoints ? 'the last checkpoint' : 'the beginning'}: a rank ${String((restart as MusterError).details['cause'])}`);
  }
}

const isOf = (failure: unknown, code: string): boolean => failure instanceof MusterError && failure.code === code;
