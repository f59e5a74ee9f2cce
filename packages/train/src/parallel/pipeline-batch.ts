/** One batch on its way through the stages of a pipeline: this stage's share of the work, in the order of the 1F1B schedule. */
import { autocast, defaultGenerator, noGrad, scope, tidy, type nn, type Scope, type Tensor } from '@muster/tensor';
import { lossAndMetrics, type Computed } from '../computed.js';
import type { Batch } from '../data/data-loader.js';
import type { Columns } from '../data/dataset.js';
import { invalidArgument } from '../failure.js';
import { pipelineSchedule, type PipelineStep } from '../machine/pipeline-schedule.js';
import type { Mesh } from './mesh.js';
import { StageLink, type Awaited } from './stage-link.js';

/** What is done at the two ends of a pipeline with each micro-batch; stages between call neither. */
export interface PipelineWork<C extends Columns> {
  /** What the first stage takes. */
  input(columns: C): Tensor;
  /** From what the last stage makes. The batch's loss and metrics are the means over its micro-batches. */
  loss(output: Tensor, columns: C): Computed;
}

/** How a training has the batch computed. */
export interface PipelinePass {
  readonly dtype: 'bf16' | 'f16' | undefined;
  /** What the last stage goes back from, given a micro-batch's loss. */
  readonly scaled: (loss: Tensor) => Tensor;
  /** Around the backward pass of each micro-batch. */
  readonly backward: (place: { readonly isFirst: boolean; readonly isLast: boolean }, goBack: () => void) => Promise<void>;
}

/** Where a batch is computed. */
export interface Stage {
  readonly mesh: Mesh;
  readonly microBatches: number;
  readonly model: nn.Module;
}

/** A micro-batch that has gone forward and not back. */
interface Live {
  /** Null at the first stage. */
  readonly input: Tensor | null;
  /** What goes down; at the last stage, what it goes back from. */
  readonly output: Tensor;
  /** Has all that the way back needs. */
  readonly held: Scope;
}

const awaitedBy = ({ kind }: PipelineStep): Awaited => (kind === 'forward' ? 'input' : 'gradient');

/** Made by {@link PipelineParallel.batch}, for a training's step. */
export class PipelineBatch<C extends Columns = Columns> {
  readonly #stage: Stage;
  readonly #work: PipelineWork<C>;
  readonly #columns: readonly C[];
  readonly #link: StageLink;
  readonly #live: Live[] = [];
  readonly #sums = new Map<string, number>();

  /** @throws MusterError INVALID_ARGUMENT for a batch that does not divide into micro-batches */
  constructor(stage: Stage, { columns, exampleCount }: Pick<Batch<C>, 'columns' | 'exampleCount'>, work: PipelineWork<C>) {
    const { microBatches } = stage;
    if (exampleCount % microBatches !== 0) throw invalidArgument(`a batch of ${exampleCount} examples for ${microBatches} micro-batches`, 'divisible among them');
    this.#stage = stage;
    this.#work = work;
    this.#link = new StageLink(stage.mesh.pipeline, stage.model.parameters()[0]?.device.name ?? 'cpu');
    this.#columns = Array.from({ length: microBatches }, (_, part) => Object.fromEntries(Object.entries(columns).map(([name, column]) => {
      const length = column.length / microBatches;
      return [name, column.subarray(part * length, (part + 1) * length)];
    })) as unknown as C);
  }

  /**
   * Forward and back, each micro-batch in its turn: at no time are more of them kept here than there are stages from this one to the end.
   * @returns means of the loss and the metrics; empty at all stages but the last
   */
  async run(pass: PipelinePass): Promise<ReadonlyMap<string, number>> {
    const { mesh: { place, shape }, microBatches } = this.#stage;
    const schedule = pipelineSchedule({ stage: place.pipeline, stages: shape.pipeline, microBatches });
    let arrived: Tensor | null = null;
    try {
      for (const [index, step] of schedule.entries()) {
        const [before, next] = [schedule[index - 1], schedule[index + 1]];
        if (before === undefined || before.kind === step.kind) arrived = await this.#link.receive(awaitedBy(step)); // else it has come while the one before was sent
        const awaited = next === undefined || next.kind === step.kind ? null : awaitedBy(next);
        arrived = step.kind === 'forward' ? await this.#forward(step.microBatch, arrived, pass, awaited) : await this.#backward(step.microBatch, arrived, pass, awaited);
      }
    } finally {
      for (const live of this.#live) release(live);
    }
    return this.#sums;
  }

  /** Forward alone, of which nothing is kept. @returns as {@link run} */
  async evaluate(dtype: PipelinePass['dtype']): Promise<ReadonlyMap<string, number>> {
    for (let microBatch = 0; microBatch < this.#columns.length; microBatch++) {
      const input = await this.#link.receive('input');
      const live = noGrad(() => this.#compute(microBatch, input, { dtype, scaled: (loss) => loss }));
      await this.#link.sendOutput(live.output, null);
      release(live);
    }
    return this.#sums;
  }

  async #forward(microBatch: number, input: Tensor | null, pass: PipelinePass, awaited: Awaited | null): Promise<Tensor | null> {
    if (input !== null) input.requiresGrad = true;
    const live = this.#compute(microBatch, input, pass);
    this.#live.push(live);
    return this.#link.sendOutput(live.output, awaited);
  }

  async #backward(microBatch: number, gradient: Tensor | null, pass: PipelinePass, awaited: Awaited | null): Promise<Tensor | null> {
    const live = this.#live.shift()!;
    let inputGradient: Tensor | null = null;
    try {
      await pass.backward({ isFirst: microBatch === 0, isLast: microBatch === this.#columns.length - 1 }, () => live.output.backward(gradient ?? undefined));
      inputGradient = live.input?.grad ?? null;
    } finally {
      gradient?.dispose();
      release(live);
    }
    const arrived = await this.#link.sendGradient(inputGradient, awaited);
    inputGradient?.dispose();
    return arrived;
  }

  /** Random numbers differ from stage to stage, as layers of one rank's model would have different ones. */
  #compute(microBatch: number, input: Tensor | null, { dtype, scaled }: Pick<PipelinePass, 'dtype' | 'scaled'>): Live {
    const { mesh: { place, shape }, model } = this.#stage;
    const columns = this.#columns[microBatch]!;
    const held = scope();
    try {
      const compute = (): Tensor => {
        const output = model.forward(input ?? this.#work.input(columns)).contiguous();
        return this.#link.isLast ? this.#lossOf(this.#work.loss(output, columns), scaled) : output;
      };
      const output = defaultGenerator.inStream(place.pipeline * shape.tensor, () => tidy(() => (dtype === undefined ? compute() : autocast(compute, { dtype }))));
      return { input, output, held };
    } catch (error) {
      held[Symbol.dispose]();
      throw error;
    } finally {
      held.close();
    }
  }

  #lossOf(computed: Computed, scaled: (loss: Tensor) => Tensor): Tensor {
    const { loss, metrics } = lossAndMetrics(computed);
    const count = this.#columns.length;
    for (const [name, value] of Object.entries({ ...metrics, loss: loss.item() })) this.#sums.set(name, (this.#sums.get(name) ?? 0) + value / count);
    return scaled(loss.div(count));
  }
}

function release({ input, held }: Live): void {
  input?.dispose();
  held[Symbol.dispose]();
}
