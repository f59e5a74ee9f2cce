/** The loop of one rank: what every step of a data-parallel training does around the user's forward pass. */
import type { Communicator } from '@muster/collective';
import { autocast, clipGradNorm, scope, type Tensor } from '@muster/tensor';
import { makeError } from '@muster/base';
import { broadcastTensors, checkAgreement } from './agreement.js';
import type { Batch, DataLoader } from './data/data-loader.js';
import type { Columns } from './data/dataset.js';
import { invalidArgument } from './failure.js';
import { GradientAverager } from './gradient-reducer.js';
import type { CheckpointFolder } from './io/checkpoint-folder.js';
import { loadLatest, saveCheckpoint } from './io/checkpoints.js';
import { ShardedStep, type ZeroStage } from './sharded-step.js';
import type { Position, Trained, TrainedShard } from './training-state.js';

/** So many steps without a finite loss or gradient are no overflow that a smaller scale mends. */
const NON_FINITE_STEPS_MAX = 100;
/** How long a rank computes before it lets messages in: requests for its progress, and its end. */
const BREATH_MS = 50;

export interface TrainingOptions extends Trained {
  /** Gradients, taken as one vector, become no longer than this; not clipped unless told otherwise. */
  readonly clipGradNorm?: number;
  /** So many batches make one step of the optimizer, whose gradient is their mean; 1 unless told otherwise. */
  readonly accumulate?: number;
  /** What ranks have a shard of instead of all, as in DeepSpeed's ZeRO: 1, the optimizer's state; 2, the gradients, too. All of all unless told otherwise. */
  readonly zero?: ZeroStage;
  /** In which type operations compute that need no more; f32 unless told otherwise. f16 wants a scaler. */
  readonly dtype?: 'bf16' | 'f16';
}

/** What a step says of itself. Numbers are means over the ranks. */
export interface StepRecord {
  readonly step: number;
  readonly epoch: number;
  readonly loss: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly learningRate: number;
  /** The loss scale; 1 without a scaler. */
  readonly scale: number;
  /** Whether the optimizer left this step out, for an infinity. */
  readonly isSkipped: boolean;
  /** Of all ranks. */
  readonly examplesPerSecond: number;
  /** That the loop waited for its batches. */
  readonly dataWaitMs: number;
}

/** What a training has from its rank. */
export interface TrainingPlace {
  readonly communicator: Communicator;
  readonly checkpoints: { readonly folder: CheckpointFolder; readonly everySteps: number; readonly keep: number } | null;
  readonly report: (record: StepRecord) => void;
  /** What was reported, and not fetched yet. */
  readonly unfetched: () => readonly StepRecord[];
  readonly warn: (text: string) => void;
}

/** What the forward pass of a batch computes: the loss, and what else is worth knowing. */
export type Computed = Tensor | { readonly loss: Tensor; readonly metrics: Readonly<Record<string, number>> };

/** @throws MusterError INVALID_ARGUMENT */
function checkOptions({ model, optimizer, accumulate = 1, clipGradNorm: normMax = 1, zero }: TrainingOptions): void {
  if (!Number.isInteger(accumulate) || accumulate < 1) throw invalidArgument(`accumulate: ${accumulate}`, 'a whole number of batches, one or more');
  if (!(normMax > 0)) throw invalidArgument(`clipGradNorm: ${normMax}`, 'above 0');
  if (zero !== undefined && zero !== 1 && zero !== 2) throw invalidArgument(`zero: ${String(zero)}`, 'stage 1 or 2');
  const own = new Set(model.parameters());
  const foreign = optimizer.parameters.filter((parameter) => !own.has(parameter)).length;
  if (foreign > 0) throw invalidArgument(`an optimizer with ${foreign} parameters that are not the model's`, 'made from the model that is trained: others would differ between the ranks');
}

/**
 * One training on one rank: made by {@link Rank.train}.
 *
 * @example
 * for await (const { columns } of training.batches(loader, { epochs: 3 })) {
 *   await training.step(() => crossEntropy(model.forward(images(columns)), labels(columns)));
 * }
 */
export class Training {
  readonly #options: TrainingOptions & { readonly accumulate: number };
  readonly #place: TrainingPlace;
  readonly #reducer: GradientAverager | ShardedStep;
  #position: Position = { step: 0, examples: 0 };
  /** Batches since the last step of the optimizer. */
  #accumulated = 0;
  /** Sums over them. */
  #sums = new Map<string, number>();
  #examplesInBatch = 0;
  /** Batches that were stepped. */
  #batchCount = 0;
  /** Since the last step. */
  #dataWaitMs = 0;
  #epoch = 0;
  #nonFiniteSteps = 0;
  #steppedMs = performance.now();
  #breathedMs = performance.now();

  private constructor(options: TrainingOptions, place: TrainingPlace) {
    const { model, optimizer, zero, accumulate = 1 } = options;
    this.#options = { ...options, accumulate };
    this.#place = place;
    this.#reducer = zero === undefined ? new GradientAverager(model.namedParameters(), place.communicator) : new ShardedStep(zero, model.namedParameters(), optimizer, place.communicator);
  }

  /** Every rank calls it. Goes on from the last checkpoint, or from rank 0's weights. @throws MusterError INVALID_ARGUMENT, COLLECTIVE, STORAGE */
  static async begin(options: TrainingOptions, place: TrainingPlace): Promise<Training> {
    const tensors = new Map(options.model.namedTensors());
    await checkAgreement(tensors, place.communicator);
    checkOptions(options);
    const training = new Training(options, place);
    const progress = place.checkpoints === null ? null : await loadLatest(training.#trained, place.checkpoints.folder, place);
    if (progress === null) await broadcastTensors(tensors.values(), place.communicator);
    else training.#position = { step: progress.step, examples: progress.examples };
    for (const record of progress?.records ?? []) place.report(record);
    return training;
  }

  /** What checkpoints keep. */
  get #trained(): TrainedShard {
    return { ...this.#options, shards: this.#reducer instanceof ShardedStep ? this.#reducer.spans() : null };
  }

  /** How many steps the optimizer has made, those before a restart included. */
  get stepCount(): number {
    return this.#position.step;
  }

  /**
   * This rank's batches from where the training is to the end, of which every rank has as many: where data differ, an epoch ends with those of the rank that has the
   * least. Every rank calls it.
   * @throws MusterError INVALID_ARGUMENT when a batch was taken without a step; what {@link DataLoader.batches} does
   */
  async *batches<C extends Columns>(loader: DataLoader<C>, { epochs }: { readonly epochs: number }): AsyncGenerator<Batch<C>, void, undefined> {
    await this.#shareSteps(loader);
    const end = epochs * loader.stepsPerEpoch;
    const first = Math.ceil(this.#position.examples / (loader.batchSize * this.#place.communicator.size)); // none of whose examples were taken
    if (first >= end) return;
    const batches = loader.batches(first);
    for (;;) {
      const askedMs = performance.now();
      const { value: batch } = await batches.next();
      this.#dataWaitMs += performance.now() - askedMs;
      this.#examplesInBatch = batch.exampleCount;
      this.#epoch = batch.epoch;
      const before = this.#batchCount;
      yield batch;
      if (this.#batchCount === before) throw invalidArgument('a batch that was taken without a step', 'followed by training.step(), awaited, before the next is taken: ranks and checkpoints count on it');
      if (batch.step + 1 >= end) return;
    }
  }

  async #shareSteps(loader: DataLoader<Columns>): Promise<void> {
    const own = loader.stepsPerEpoch;
    const fewest = Int32Array.of(own);
    await this.#place.communicator.allReduce(fewest, { op: 'min' });
    loader.limitSteps(fewest[0]!);
    const most = Int32Array.of(own);
    await this.#place.communicator.allReduce(most, { op: 'max' });
    if (most[0] !== fewest[0]) this.#place.warn(`ranks have data for ${fewest[0]} to ${most[0]} steps an epoch: epochs end after ${fewest[0]}`);
  }

  /**
   * One batch: the forward pass, in a scope that ends all of its tensors, the backward pass, and with every `accumulate`-th one the mean of the gradients
   * over the ranks and a step of the optimizer. Every rank calls it as often.
   * @returns whether the optimizer's turn came
   * @throws TensorError; MusterError INVALID_ARGUMENT, COLLECTIVE, TRAINING, STORAGE
   */
  async step(compute: () => Computed): Promise<boolean> {
    const { accumulate } = this.#options;
    this.#reducer.beginBatch({ isFirst: this.#accumulated === 0, isLast: this.#accumulated + 1 === accumulate });
    this.#differentiate(compute);
    await this.#reducer.endBatch();
    this.#accumulated++;
    this.#batchCount++;
    this.#position = { ...this.#position, examples: this.#position.examples + this.#examplesInBatch * this.#place.communicator.size };
    if (this.#accumulated < accumulate) return false;
    const isSkipped = !(await (this.#reducer instanceof ShardedStep ? this.#optimizeShard(this.#reducer) : this.#optimize()));
    this.#position = { ...this.#position, step: this.#position.step + 1 };
    await this.#conclude(isSkipped);
    return true;
  }

  [Symbol.dispose](): void {
    this.#reducer[Symbol.dispose]();
  }

  #differentiate(compute: () => Computed): void {
    const { dtype, scaler, accumulate } = this.#options;
    using _ = scope();
    const computed = dtype === undefined ? compute() : autocast(compute, { dtype });
    const { loss, metrics } = 'loss' in computed ? computed : { loss: computed, metrics: {} };
    const mean = accumulate === 1 ? loss : loss.div(accumulate);
    (scaler?.scale(mean) ?? mean).backward();
    for (const [name, value] of Object.entries({ ...metrics, loss: loss.item() as number })) this.#sums.set(name, (this.#sums.get(name) ?? 0) + value / accumulate);
  }

  /** @returns whether the optimizer made the step */
  #optimize(): boolean {
    const { model, optimizer, scaler, schedule, clipGradNorm: normMax } = this.#options;
    if (normMax !== undefined) {
      scaler?.unscale(optimizer);
      clipGradNorm(model.parameters(), normMax);
    }
    const hasStepped = scaler?.step(optimizer) ?? (optimizer.step(), true);
    scaler?.update();
    schedule?.step();
    model.zeroGrad();
    return hasStepped;
  }

  /** As {@link #optimize}, of this rank's shard. */
  async #optimizeShard(shard: ShardedStep): Promise<boolean> {
    const { optimizer, scaler, schedule, clipGradNorm: normMax } = this.#options;
    await scaler?.unscaleTogether(optimizer, (found) => shard.agree(found));
    if (normMax !== undefined) await shard.clip(normMax);
    const hasStepped = scaler?.step(optimizer) ?? (optimizer.step(), true);
    scaler?.update();
    schedule?.step();
    optimizer.zeroGrad();
    if (hasStepped) await shard.gather();
    return hasStepped;
  }

  async #conclude(isSkipped: boolean): Promise<void> {
    const { communicator, checkpoints, report, unfetched } = this.#place;
    const { step } = this.#position;
    const means = Float64Array.of(...this.#sums.values(), this.#dataWaitMs);
    await communicator.allReduce(means, { op: 'average' });
    const metrics = Object.fromEntries([...this.#sums.keys()].map((name, index) => [name, means[index]!]));
    const { loss = NaN, ...others } = metrics;
    this.#checkFinite(loss, isSkipped);
    const nowMs = performance.now();
    const examples = this.#accumulated * this.#examplesInBatch * communicator.size;
    report({
      step, epoch: this.#epoch, loss, metrics: others, learningRate: this.#options.optimizer.groups[0]!.options.learningRate, scale: this.#options.scaler?.currentScale ?? 1,
      isSkipped, examplesPerSecond: (examples / (nowMs - this.#steppedMs)) * 1000, dataWaitMs: means.at(-1)!,
    });
    this.#steppedMs = nowMs;
    this.#dataWaitMs = 0;
    this.#accumulated = 0;
    this.#sums = new Map();
    if (checkpoints !== null && step % checkpoints.everySteps === 0) await saveCheckpoint(this.#trained, { ...this.#position, records: unfetched() }, { ...checkpoints, communicator });
    if (nowMs - this.#breathedMs > BREATH_MS) {
      await new Promise((resolve) => setImmediate(resolve));
      this.#breathedMs = performance.now();
    }
  }

  /** All ranks see the same mean, and so fail together. @throws MusterError TRAINING */
  #checkFinite(loss: number, isSkipped: boolean): void {
    if (Number.isFinite(loss) && !isSkipped) {
      this.#nonFiniteSteps = 0;
      return;
    }
    this.#nonFiniteSteps++;
    const { scaler } = this.#options;
    if (scaler === undefined) throw makeError('TRAINING', { what: `step ${this.#position.step}`, cause: `its loss is ${loss}` });
    if (this.#nonFiniteSteps >= NON_FINITE_STEPS_MAX) throw makeError('TRAINING', { what: `step ${this.#position.step}`, cause: `${NON_FINITE_STEPS_MAX} steps in a row had no finite gradient, down to a loss scale of ${scaler.currentScale}` });
  }
}
