/** A model as a list of modules, of which each stage of a pipeline has a run. */
import { requireNames } from '@muster/base';
import type { CallArray } from '@muster/collective';
import { nn, type Tensor } from '@muster/tensor';
import type { Batch } from '../data/data-loader.js';
import type { Columns } from '../data/dataset.js';
import { invalidArgument } from '../failure.js';
import type { ParameterPart } from '../machine/parameter-part.js';
import { planStages } from '../machine/stage-plan.js';
import type { Mesh } from './mesh.js';
import { partsOf, type InParts } from './parts.js';
import { PipelineBatch, type PipelineWork } from './pipeline-batch.js';

export interface PipelineOptions {
  readonly mesh: Mesh;
  /** Into how many parts a batch is cut, which follow each other through the stages: the more, the less stages wait. */
  readonly microBatches: number;
  /** How many modules each stage has; so that the largest number of parameters is as small as can be, unless told otherwise. */
  readonly split?: readonly number[];
}

/** A parameter that modules of several stages use, such as an embedding that is the output layer, too. */
interface Tied {
  /** In this stage's state. */
  readonly name: string;
  /** Of which this is one. The first one's counts where one must. */
  readonly stages: readonly number[];
}

/**
 * This rank's stage of a model whose modules follow each other. Every rank makes the whole list, with the same seed, and gives what others have back; a
 * parameter in several modules stays one: stages that share it add their gradients up. In a state modules are numbered as in the list, wherever they are.
 *
 * @example
 * const model = new PipelineParallel([embedding, ...blocks, head], { mesh: rank.mesh, microBatches: 8 });
 * const training = await rank.train({ model, optimizer: new optim.AdamW(model.parameters()) });
 * for await (const batch of training.batches(loader, { epochs: 1 })) {
 *   await training.step(model.batch(batch, { input: ({ x }) => tensor(x), loss: (output, { y }) => crossEntropy(output, tensor(y)) }));
 * }
 */
export class PipelineParallel extends nn.Module implements InParts {
  /** Also of what modules of other stages say. */
  readonly parts: ReadonlyMap<string, ParameterPart>;
  readonly #mesh: Mesh;
  readonly #microBatches: number;
  readonly #own: readonly (readonly [name: string, module: nn.Module])[];
  readonly #tied: readonly Tied[];
  /** The first names that tensors have in the whole list, by those that they have here. */
  readonly #names: ReadonlyMap<string, string>;

  /** @throws MusterError INVALID_ARGUMENT */
  constructor(modules: readonly nn.Module[], options: PipelineOptions) {
    super();
    requireNames('PipelineParallel', options, ['mesh', 'microBatches', 'split']);
    const { mesh, microBatches, split } = options;
    const stages = mesh.shape.pipeline;
    if (!Number.isInteger(microBatches) || microBatches < 1) throw invalidArgument(`${microBatches} micro-batches`, 'one or more');
    if (modules.length < stages) throw invalidArgument(`${modules.length} modules for ${stages} stages`, 'one for each at least');
    const counts = split ?? planStages(modules.map(({ parameterCount }) => parameterCount), stages);
    const isSplit = counts.length === stages && counts.every((count) => Number.isInteger(count) && count >= 1) && counts.reduce((sum, count) => sum + count, 0) === modules.length;
    if (!isSplit) throw invalidArgument(`a split of ${modules.length} modules into ${counts.join(' + ')}`, `of ${stages} positive numbers whose sum is ${modules.length}`);
    this.#mesh = mesh;
    this.#microBatches = microBatches;
    const stageOf = counts.flatMap((count, stage) => Array<number>(count).fill(stage));
    this.#own = modules.flatMap((module, index) => (stageOf[index] === mesh.place.pipeline ? [[String(index), module] as const] : []));
    const holders = holdersOf(modules, stageOf);
    const own = new Map(this.namedTensors());
    this.#names = new Map(Array.from(own, ([name, tensor]) => [name, holders.get(tensor)!.name]));
    this.#tied = [...holders].flatMap(([tensor, { stages: held }]) => {
      const [name] = [...own].find(([, each]) => each === tensor) ?? [];
      return held.length > 1 && name !== undefined ? [{ name, stages: held }] : [];
    });
    this.parts = new Map([...partsOf(new nn.Sequential(...modules))].filter(([name]) => own.has(name)));
    for (const [tensor, { stages: held }] of holders) if (!held.includes(mesh.place.pipeline)) tensor.dispose();
  }

  override *children(): Generator<readonly [string, nn.Module]> {
    yield* this.#own;
  }

  override *namedParameters(): Generator<readonly [string, Tensor]> {
    for (const [name, tensor] of super.namedParameters()) yield [this.#names.get(name)!, tensor];
  }

  /** What this stage makes of the one before's output; with one stage, the whole model. */
  forward(input: Tensor): Tensor {
    return this.#own.reduce((current, [, module]) => module.forward(current), input);
  }

  /** A batch for {@link Training.step} and {@link Training.evaluate}, the same at every stage. @throws MusterError INVALID_ARGUMENT */
  batch<C extends Columns>(batch: Pick<Batch<C>, 'columns' | 'exampleCount'>, work: PipelineWork<C>): PipelineBatch<C> {
    return new PipelineBatch({ mesh: this.#mesh, microBatches: this.#microBatches, model: this }, batch, work);
  }

  /** Whether this stage's copy of a parameter is the one that counts: there is another if several stages use it. */
  owns(parameter: Tensor): boolean {
    const state = this.stateDict();
    const tied = this.#tied.find(({ name }) => state[name] === parameter);
    return tied === undefined || tied.stages[0] === this.#mesh.place.pipeline;
  }

  /** Whether stages share parameters. */
  get hasTied(): boolean {
    return this.#tied.length > 0;
  }

  /** Makes tied parameters those of their first stage. Every rank calls it. */
  async shareTied(): Promise<void> {
    const { rank } = this.#mesh.pipeline;
    const state = this.stateDict();
    for (const { name, stages: [root, ...others] } of this.#tied) {
      const tensor = state[name]!;
      await this.#mesh.pipeline.group((group) => {
        if (rank !== root) group.recv(tensor.elements() as CallArray, { from: root!, dtype: tensor.dtype as 'f32' });
        else for (const to of others) group.send(tensor.elements() as CallArray, { to, dtype: tensor.dtype as 'f32' });
      });
      tensor.storage.version++;
    }
  }

  /** Makes the gradients of tied parameters the sums of their stages', in the order of those. Every rank calls it, after a step's last backward pass. */
  async reduceTied(): Promise<void> {
    const { pipeline } = this.#mesh;
    const state = this.stateDict();
    for (const { name, stages: [root, ...others] } of this.#tied) {
      const { grad } = state[name]!;
      const dtype = grad!.dtype as 'f32';
      const own = grad!.elements() as CallArray;
      if (pipeline.rank !== root) {
        await pipeline.send(own, { to: root!, dtype });
        await pipeline.recv(own, { from: root!, dtype });
      } else {
        using part = grad!.clone();
        for (const from of others) {
          await pipeline.recv(part.elements() as CallArray, { from, dtype });
          grad!.device.map('add', grad!, grad!, part);
        }
        for (const to of others) await pipeline.send(own, { to, dtype });
      }
      grad!.storage.version++;
    }
  }
}

/** Of each tensor its first name in the list, and the stages whose modules have it. */
function holdersOf(modules: readonly nn.Module[], stageOf: readonly number[]): Map<Tensor, { readonly name: string; readonly stages: number[] }> {
  const holders = new Map<Tensor, { readonly name: string; readonly stages: number[] }>();
  modules.forEach((module, index) => {
    for (const [name, tensor] of module.namedTensors(`${index}.`)) {
      const holder = holders.get(tensor) ?? { name, stages: [] };
      holders.set(tensor, holder);
      if (!holder.stages.includes(stageOf[index]!)) holder.stages.push(stageOf[index]!);
    }
  });
  return holders;
}
