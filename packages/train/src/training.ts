/** The loop of one rank: what every step of a training does around the user's forward pass. */
import { autocast, clipGradNorm, clipGradsWithNorm, gradNorm, noGrad, scope, threadCount, tidy, type DeviceName } from '@muster/tensor';
import { makeError } from '@muster/base';
import { availableParallelism } from 'node:os';
import { broadcastTensors, checkAgreement, checkOptionsAgree } from './agreement.js';
import { lossAndMetrics, type Computed } from './computed.js';
import type { Batch, DataLoader } from './data/data-loader.js';
import type { Columns } from './data/dataset.js';
import { invalidArgument } from './failure.js';
import { GradientAverager, HOLDING } from './gradient-reducer.js';
import type { CheckpointFolder } from './io/checkpoint-folder.js';
import { loadLatest, saveCheckpoint } from './io/checkpoints.js';
import { isCut, partOf, wholeGrid, type ParameterPart } from './machine/parameter-part.js';
import type { Mesh } from './parallel/mesh.js';
import { partsOf } from './parallel/parts.js';
import { PipelineBatch } from './parallel/pipeline-batch.js';
import { PipelineParallel } from './parallel/pipeline-parallel.js';
import { rankMeans } from './rank-means.js';
import { ShardedStep, type ZeroStage } from './sharded-step.js';
import { StageMetrics } from './stage-metrics.js';
import type { Position, Stepped, Trained, TrainedPart } from './training-state.js';

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
  /** That the training will have made when its batches end; null where it has none from a loader. */
  readonly totalSteps: number | null;
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
  readonly mesh: Mesh;
  /** Where the model is. */
  readonly device: DeviceName;
  readonly checkpoints: { readonly folder: CheckpointFolder; readonly everySteps: number; readonly keep: number } | null;
  readonly report: (record: StepRecord) => void;
  /** What was reported, and not fetched yet. */
  readonly unfetched: () => readonly StepRecord[];
  readonly warn: (text: string) => void;
}

/** How long a training is: how often it goes through its examples, or how many steps its optimizer makes. */
export type Until = { readonly epochs: number } | { readonly steps: number };

/** A batch to compute: what its forward pass computes, or with a pipeline its way through that. */
export type Compute = (() => Computed) | PipelineBatch;

/** @throws MusterError INVALID_ARGUMENT */
function checkOptions({ model, optimizer, accumulate = 1, clipGradNorm: normMax = 1, zero }: TrainingOptions, { mesh: { shape }, device }: TrainingPlace): void {
  if (!Number.isInteger(accumulate) || accumulate < 1) throw invalidArgument(`accumulate: ${accumulate}`, 'a whole number of batches, one or more');
  if (!(normMax > 0)) throw invalidArgument(`clipGradNorm: ${normMax}`, 'above 0');
  if (zero !== undefined && zero !== 1 && zero !== 2) throw invalidArgument(`zero: ${String(zero)}`, 'stage 1 or 2');
  if (shape.pipeline > 1 && !(model instanceof PipelineParallel)) throw invalidArgument(`a model for ${shape.pipeline} stages`, 'a PipelineParallel');
  if (zero !== undefined && model instanceof PipelineParallel && model.hasTied) throw invalidArgument(`zero: ${zero} with parameters that stages share`, 'left out: their gradients are added up as wholes');
  const [elsewhere] = Object.entries(model.stateDict()).filter(([, { device: { name } }]) => name !== device);
  if (elsewhere !== undefined) throw invalidArgument(`a model whose ${elsewhere[0]} is on ${elsewhere[1].device.name} in a training on ${device}`, 'on rank.device: model.to(rank.device) before its optimizer is made');
  const own = new Set(model.parameters());
  const foreign = optimizer.parameters.filter((parameter) => !own.has(parameter)).length;
  if (foreign > 0) throw invalidArgument(`an optimizer with ${foreign} parameters that are not the model's`, 'made from the model that is trained: others would differ between the ranks');
}

/** @throws MusterError INVALID_ARGUMENT for a length that would never come, or is none */
function checkUntil(until: Until): void {
  const lengths = Object.entries(until ?? {}).filter(([name]) => name === 'epochs' || name === 'steps') as [string, number][];
  const isValid = lengths.length === 1 && lengths.every(([name, length]) => length >= 0 && (name === 'steps' ? Number.isSafeInteger(length) : Number.isFinite(length)));
  if (!isValid) throw invalidArgument(`a training of ${lengths.map(([name, length]) => `${name}: ${length}`).join(' and ') || 'no length'}`, 'of { epochs } or of { steps }, finite and 0 or more, steps a whole number');
}

/** Whether ranks have something to reduce gradients with while they compute: cores that do not, as where GPUs do it, or the wires between nodes. */
function hasIdleCores({ nodeCount, world }: Mesh, device: DeviceName): boolean {
  return device !== 'cpu' || nodeCount > 1 || availableParallelism() >= world.size * (threadCount() + 1);
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
  /** Of the model's tensors those that are parts. */
  readonly #parts: ReadonlyMap<string, ParameterPart>;
  /** What this rank has of each parameter. */
  readonly #parameters: ReadonlyMap<string, ParameterPart>;
  readonly #stageMetrics: StageMetrics;
  #position: Position = { step: 0, examples: 0 };
  /** Batches since the last step of the optimizer. */
  #accumulated = 0;
  /** Sums over them. */
  #sums = new Map<string, number>();
  #examplesInBatch = 0;
  #totalSteps: number | null = null;
  #isStepping = false;
  #hasToldOfDetour = false;
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
    const { data } = place.mesh;
    this.#parts = partsOf(model);
    const state = model.stateDict();
    const byTensor = new Map(Array.from(this.#parts, ([name, part]) => [state[name]!, part]));
    this.#parameters = new Map(Array.from(model.namedParameters(), ([name, tensor]) => [name, byTensor.get(tensor) ?? partOf(wholeGrid(tensor.size))]));
    this.#stageMetrics = new StageMetrics(place.mesh.pipeline);
    const overlaps = hasIdleCores(place.mesh, place.device);
    this.#reducer = zero === undefined ? new GradientAverager(model.namedParameters(), data, { overlaps }) : new ShardedStep(zero, model.namedParameters(), optimizer, data, { overlaps });
  }

  /**
   * Every rank calls it. Goes on from the last checkpoint, or from the weights of the first replica, of which those that a tensor-parallel group has at each rank are
   * its first rank's. @throws MusterError INVALID_ARGUMENT, COLLECTIVE, STORAGE
   */
  static async begin(options: TrainingOptions, place: TrainingPlace): Promise<Training> {
    const { mesh, checkpoints } = place;
    const tensors = new Map(options.model.namedTensors());
    const parts = partsOf(options.model);
    for (const axis of [mesh.data, mesh.tensor]) await checkAgreement(tensors, parts, axis);
    checkOptions(options, place);
    for (const axis of [mesh.data, mesh.tensor]) await checkOptionsAgree(options, axis);
    const training = new Training(options, place);
    const progress = checkpoints === null ? null : await loadLatest(training.#trained, checkpoints.folder, place);
    if (progress === null) {
      await broadcastTensors(tensors.values(), mesh.data);
      await broadcastTensors([...tensors].flatMap(([name, tensor]) => (parts.has(name) ? [] : [tensor])), mesh.tensor);
      if (options.model instanceof PipelineParallel) await options.model.shareTied();
    } else training.#position = { step: progress.step, examples: progress.examples };
    for (const record of progress?.records ?? []) place.report(record);
    return training;
  }

  /** What checkpoints keep. */
  get #trained(): TrainedPart {
    return { ...this.#options, mesh: this.#place.mesh.shape, parts: this.#parts, stepped: this.#stepped() };
  }

  #stepped(): Stepped[] {
    const { model, optimizer } = this.#options;
    const names = new Map(Array.from(model.namedParameters(), ([name, tensor]) => [tensor, name]));
    const spans = this.#reducer instanceof ShardedStep ? this.#reducer.spans() : null;
    return optimizer.parameters.map((parameter) => {
      const shard = spans?.get(parameter);
      const name = shard?.name ?? names.get(parameter)!;
      const part = this.#parameters.get(name)!;
      return { name, part: shard === undefined ? part : { ...part, span: shard.span } };
    });
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
  async *batches<C extends Columns>(loader: DataLoader<C>, until: Until): AsyncGenerator<Batch<C>, void, undefined> {
    checkUntil(until);
    await this.#shareSteps(loader);
    const first = Math.ceil(this.#position.examples / (loader.batchSize * this.#place.mesh.shape.data)); // none of whose examples were taken
    const end = 'epochs' in until ? until.epochs * loader.stepsPerEpoch : first + (until.steps - this.#position.step) * this.#options.accumulate - this.#accumulated;
    if (first >= end) return;
    this.#totalSteps = this.#position.step + Math.floor((this.#accumulated + end - first) / this.#options.accumulate);
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
    await this.#place.mesh.world.allReduce(fewest, { op: 'min' });
    loader.limitSteps(fewest[0]!);
    const most = Int32Array.of(own);
    await this.#place.mesh.world.allReduce(most, { op: 'max' });
    if (most[0] !== fewest[0]) this.#place.warn(`ranks have data for ${fewest[0]} to ${most[0]} steps an epoch: epochs end after ${fewest[0]}`);
  }

  /**
   * One batch: the forward pass, in a scope that ends all of its tensors, the backward pass, and with every `accumulate`-th one the mean of the gradients
   * over the ranks and a step of the optimizer. Every rank calls it as often.
   * @returns whether the optimizer's turn came
   * @throws TensorError; MusterError INVALID_ARGUMENT, COLLECTIVE, TRAINING, STORAGE
   */
  async step(compute: Compute): Promise<boolean> {
    const { accumulate } = this.#options;
    this.#checkWhole(compute);
    if (this.#isStepping) throw invalidArgument('a step within another', 'begun when the one before has ended: await training.step()');
    this.#isStepping = true;
    this.#batchCount++;
    try {
      return await this.#step(compute, accumulate);
    } finally {
      this.#isStepping = false;
    }
  }

  /** A stage alone computes something, but not the model's. @throws MusterError INVALID_ARGUMENT */
  #checkWhole(compute: Compute): void {
    if (this.#place.mesh.shape.pipeline > 1 && !(compute instanceof PipelineBatch)) throw invalidArgument('a batch that each stage computes by itself', 'on its way through all of them: model.batch(batch, { input, loss })');
  }

  async #step(compute: Compute, accumulate: number): Promise<boolean> {
    await (compute instanceof PipelineBatch ? this.#differentiateParts(compute) : this.#differentiate(compute));
    this.#accumulated++;
    this.#position = { ...this.#position, examples: this.#position.examples + this.#examplesInBatch * this.#place.mesh.shape.data };
    if (this.#accumulated < accumulate) return false;
    const means = await this.#meansOf(new Map([...this.#sums, ['dataWaitMs', this.#dataWaitMs]])); // here ranks have just met: after the step they would have to meet again
    const isSkipped = !(await this.#optimize());
    this.#position = { ...this.#position, step: this.#position.step + 1 };
    await this.#conclude(isSkipped, means);
    return true;
  }

  /**
   * Computes a batch without learning from it; the model should be in {@link nn.Module.eval}. Every rank calls it.
   * @returns the loss and the metrics, means over the replicas, at every rank
   */
  async evaluate(compute: Compute): Promise<Readonly<Record<string, number>> & { readonly loss: number }> {
    const { dtype } = this.#options;
    this.#checkWhole(compute);
    let own: ReadonlyMap<string, number>;
    if (compute instanceof PipelineBatch) own = await compute.evaluate(dtype);
    else {
      using _ = scope();
      const computed = noGrad(() => (dtype === undefined ? compute() : autocast(compute, { dtype })));
      const { loss, metrics } = lossAndMetrics(computed);
      own = new Map(Object.entries({ ...metrics, loss: loss.item() }));
    }
    const { loss = NaN, ...others } = await this.#meansOf(own);
    return { loss, ...others };
  }

  [Symbol.dispose](): void {
    this.#reducer[Symbol.dispose]();
  }

  async #differentiate(compute: () => Computed): Promise<void> {
    const { dtype, scaler, accumulate } = this.#options;
    this.#reducer.beginBatch({ isFirst: this.#accumulated === 0, isLast: this.#accumulated + 1 === accumulate });
    {
      using _ = scope();
      const { loss, metrics } = tidy(() => lossAndMetrics(dtype === undefined ? compute() : autocast(compute, { dtype }))); // else all of the pass would be held until the way back is over
      const mean = accumulate === 1 ? loss : loss.div(accumulate);
      (scaler?.scale(mean) ?? mean).backward();
      this.#add({ ...metrics, loss: loss.item() as number });
    }
    await this.#reducer.endBatch();
  }

  /** The micro-batches of a pipeline are batches of a step to what reduces gradients. */
  async #differentiateParts(batch: PipelineBatch): Promise<void> {
    const { dtype, scaler, accumulate } = this.#options;
    const [isFirst, isLast] = [this.#accumulated === 0, this.#accumulated + 1 === accumulate];
    const sums = await batch.run({
      dtype,
      scaled: (loss) => scaler?.scale(loss.div(accumulate)) ?? loss.div(accumulate),
      backward: async (place, goBack) => {
        this.#reducer.beginBatch({ isFirst: isFirst && place.isFirst, isLast: isLast && place.isLast });
        goBack();
        await this.#reducer.endBatch();
      },
    });
    this.#add(Object.fromEntries(sums));
  }

  #add(values: Readonly<Record<string, number>>): void {
    for (const [name, value] of Object.entries(values)) this.#sums.set(name, (this.#sums.get(name) ?? 0) + value / this.#options.accumulate);
  }

  /** Whether each rank has gradients that others have not. */
  get #isPartial(): boolean {
    return this.#place.mesh.partCount > 1 || this.#reducer instanceof ShardedStep;
  }

  /** @returns whether the optimizer made the step */
  async #optimize(): Promise<boolean> {
    const { model, optimizer, scaler, schedule, clipGradNorm: normMax } = this.#options;
    if (model instanceof PipelineParallel) await model.reduceTied();
    if (this.#isPartial) await scaler?.unscaleTogether(optimizer, (found) => this.#agree(found));
    else if (normMax !== undefined) scaler?.unscale(optimizer);
    if (normMax !== undefined) await this.#clip(normMax);
    const hasStepped = scaler?.step(optimizer) ?? (optimizer.step(), true);
    scaler?.update();
    schedule?.step();
    optimizer.zeroGrad();
    model.zeroGrad();
    if (hasStepped && this.#reducer instanceof ShardedStep) await this.#reducer.gather();
    this.#tellOfDetour();
    return hasStepped;
  }

  /** Once: gradients of ranks on one node need not leave the GPUs, if there is a way. */
  #tellOfDetour(): void {
    const { mesh: { data }, warn } = this.#place;
    if (this.#hasToldOfDetour || data.deviceWay?.way !== 'staged') return;
    this.#hasToldOfDetour = true;
    warn(`gradients of GPUs travel through host memory: ${data.deviceWay.reason}`);
  }

  /** Whether any rank found an infinity. */
  async #agree(found: boolean): Promise<boolean> {
    const any = Int32Array.of(found ? 1 : 0);
    await this.#place.mesh.world.allReduce(any, { ...HOLDING, op: 'max' });
    return any[0] === 1;
  }

  /** By the length of the gradients of all ranks together: of what several have one counts. */
  async #clip(normMax: number): Promise<void> {
    const { model, optimizer } = this.#options;
    const { mesh: { world, place, shape } } = this.#place;
    if (!this.#isPartial) {
      clipGradNorm(model.parameters(), normMax);
      return;
    }
    const stepped = this.#stepped();
    const own = optimizer.parameters.filter((parameter, index) => (place.tensor === 0 || isCut(stepped[index]!.part)) && !(model instanceof PipelineParallel && !model.owns(parameter)));
    const square = Float64Array.of(gradNorm(own) ** 2);
    await world.allReduce(square, HOLDING);
    const replicas = this.#reducer instanceof ShardedStep ? 1 : shape.data;
    clipGradsWithNorm(optimizer.parameters, normMax, Math.sqrt(square[0]! / replicas));
  }

  /** @param means over the ranks, of what was summed up since the last step */
  async #conclude(isSkipped: boolean, { loss = NaN, dataWaitMs = 0, ...others }: Readonly<Record<string, number>>): Promise<void> {
    const { mesh, checkpoints, report, unfetched } = this.#place;
    const { step } = this.#position;
    this.#checkFinite(loss, isSkipped);
    const nowMs = performance.now();
    const examples = this.#accumulated * this.#examplesInBatch * mesh.shape.data;
    report({
      step, totalSteps: this.#totalSteps, epoch: this.#epoch, loss, metrics: others, learningRate: this.#options.optimizer.groups[0]!.options.learningRate, scale: this.#options.scaler?.currentScale ?? 1,
      isSkipped, examplesPerSecond: (examples / (nowMs - this.#steppedMs)) * 1000, dataWaitMs,
    });
    this.#steppedMs = nowMs;
    this.#dataWaitMs = 0;
    this.#accumulated = 0;
    this.#sums = new Map();
    if (checkpoints !== null && step % checkpoints.everySteps === 0) await saveCheckpoint(this.#trained, { ...this.#position, records: unfetched() }, { ...checkpoints, mesh, isSharded: this.#reducer instanceof ShardedStep });
    if (nowMs - this.#breathedMs > BREATH_MS) {
      await new Promise((resolve) => setImmediate(resolve));
      this.#breathedMs = performance.now();
    }
  }

  /** Over the replicas, at every rank: the last stage of a pipeline tells the others. */
  async #meansOf(sums: ReadonlyMap<string, number>): Promise<Record<string, number>> {
    return this.#stageMetrics.tell(await rankMeans(sums, this.#place.mesh.data));
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
