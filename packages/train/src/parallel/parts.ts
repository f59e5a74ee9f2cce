/** Parameters in parts: how a layer's are cut, and how what was cut otherwise is copied into them. */
import { tidy, zeros, type nn, type Shape, type Tensor } from '@muster/tensor';
import { invalidArgument } from '../failure.js';
import { partOf, sharedRuns, type ParameterGrid, type ParameterPart } from '../machine/parameter-part.js';
import { shardElements, type Span } from '../machine/shards.js';

/** Which rank's part. */
export interface PartPlace {
  readonly rank: number;
  readonly ranks: number;
}

/** A module that says which parts of its parameters it holds, by their names in its state. */
export interface InParts {
  readonly parts: ReadonlyMap<string, ParameterPart>;
}

/** Which of a model's tensors are parts, by their names in its state; one that modules share has the part that any of them says. */
export function partsOf(model: nn.Module): Map<string, ParameterPart> {
  const tensors = model.stateDict();
  const byTensor = new Map(Array.from(saidParts(model, ''), ([name, part]) => [tensors[name], part]));
  return new Map(Object.entries(tensors).flatMap(([name, tensor]) => (byTensor.has(tensor) ? [[name, byTensor.get(tensor)!]] : [])));
}

function* saidParts(module: nn.Module & Partial<InParts>, prefix: string): Generator<readonly [string, ParameterPart]> {
  for (const [name, part] of module.parts ?? []) yield [prefix + name, part];
  for (const [name, child] of module.children()) yield* saidParts(child, `${prefix}${name}.`);
}

/** The rows of so many that are a rank's: equal parts, of which those at the end may be smaller. */
export function spanOf(rows: number, { rank, ranks }: PartPlace): Span {
  const each = shardElements(rows, ranks);
  return { start: Math.min(rows, rank * each), end: Math.min(rows, (rank + 1) * each) };
}

/** Which dimension of a parameter is cut. It is made of equal blocks, of each of which every rank has a part: queries, keys and values below each other are three. */
export interface Cut {
  readonly dimension: number;
  readonly blocks: number;
}

const sizeOf = (shape: Shape): number => shape.reduce((size, extent) => size * extent, 1);

function gridOf(shape: Shape, { dimension, blocks }: Cut): ParameterGrid {
  return { panels: sizeOf(shape.slice(0, dimension)) * blocks, rows: shape[dimension]! / blocks, elements: sizeOf(shape.slice(dimension + 1)) };
}

/**
 * Cuts a rank's part out, copied.
 * @throws MusterError INVALID_ARGUMENT where a rank would have nothing
 */
export function cutPart(whole: Tensor, cut: Cut, place: PartPlace): { readonly tensor: Tensor; readonly part: ParameterPart } {
  const grid = gridOf(whole.shape, cut);
  const part = partOf(grid, spanOf(grid.rows, place));
  const count = part.held.end - part.held.start;
  if (count === 0) throw invalidArgument(`a parameter [${whole.shape.join(', ')}] of which rank ${place.rank} of ${place.ranks} has no part`, 'larger, or the group smaller');
  const tensor = tidy(() => {
    const own = zeros(whole.shape.map((extent, dimension) => (dimension === cut.dimension ? cut.blocks * count : extent)), { dtype: whole.dtype });
    copyShared({ tensor: own, part }, { tensor: whole.detach().to('cpu'), part: partOf(grid) });
    return own.to(whole.device.name);
  });
  return { tensor, part };
}

/** A part, and the tensor on the CPU that holds its elements, dense. */
export interface Held {
  readonly tensor: Tensor;
  readonly part: ParameterPart;
}

/** Copies what both have; they are of one dtype. */
export function copyShared(to: Held, from: Held): void {
  const [target, source] = [to.tensor.memory() as Float32Array, from.tensor.memory() as Float32Array];
  for (const run of sharedRuns(to.part, from.part)) target.set(source.subarray(run.from, run.from + run.count), run.to);
  to.tensor.storage.version++;
}
