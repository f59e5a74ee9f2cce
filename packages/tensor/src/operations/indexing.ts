/** Picking by index, and putting together. */
import { apply, type Operation } from '../autograd/graph.js';
import { cpu } from '../device/cpu.js';
import type { Device, IndexedView } from '../device/device.js';
import { isFloating, promote } from '../dtype.js';
import { tensorError } from '../failure.js';
import { isSameShape, sizeOf, type Shape } from '../shape.js';
import { copyOf, denseOf, empty, filled, viewOf, type Tensor } from '../tensor.js';
import { where } from './arithmetic.js';
import { dimensionOf, gradientOfOwn, saveDense } from './raw.js';
import { narrow, reshape, unsqueeze } from './views.js';

function checkIndex(name: string, input: Tensor, index: Tensor): void {
  if (index.dtype !== 'i64' && index.dtype !== 'i32') throw tensorError(name, [input, index], 'the index must be i64 or i32');
}

/** A dense tensor as [before, dimension, behind]. */
function inThree(of: Tensor, dimension: number): IndexedView {
  const behind = sizeOf(of.shape.slice(dimension + 1));
  return { of, strides: [of.shape[dimension]! * behind, behind, 1] };
}

function threeOf(shape: Shape, dimension: number): Shape {
  return [sizeOf(shape.slice(0, dimension)), shape[dimension]!, sizeOf(shape.slice(dimension + 1))];
}

interface Along {
  readonly dimension: number;
}

const GATHER: Operation<Along> = {
  name: 'gather',
  forward(context, [input, index], { dimension }) {
    const [from, at] = [denseOf(input!), denseOf(index!)];
    const result = empty(index!.shape, input!.dtype, input!.device);
    result.device.gather(threeOf(index!.shape, dimension), input!.shape[dimension]!, { indexed: inThree(from, dimension), index: inThree(at, dimension), picked: inThree(result, dimension) });
    saveDense(context, at, index!);
    if (from !== input) from.dispose();
    return result;
  },
  backward({ saved: [index], inputs: [input] }, gradient, { dimension }) {
    const sums = filled(input!.shape, 0, 'f32', gradient.device);
    const upper = denseOf(gradient, 'f32');
    sums.device.scatterAdd(threeOf(index!.shape, dimension), input!.shape[dimension]!, { indexed: inThree(sums, dimension), index: inThree(index!, dimension), picked: inThree(upper, dimension) });
    if (upper !== gradient) upper.dispose();
    return [inDtype(sums, input!.dtype), null];
  },
};

/** f32 sums in the dtype of what they are the gradient of. */
function inDtype(sums: Tensor, dtype: Tensor['dtype']): Tensor {
  if (dtype === 'f32') return sums;
  const result = copyOf(sums, dtype);
  sums.dispose();
  return result;
}

/** result[i][j][k] = input[i][index[i][j][k]][k], for the second of three dimensions, as torch.gather. Other sizes of the index are the input's, or smaller. */
export function gather(input: Tensor, dimension: number, index: Tensor): Tensor {
  checkIndex('gather', input, index);
  const own = dimensionOf('gather', input, dimension);
  const fits = input.rank === index.rank && input.shape.every((extent, each) => each === own || index.shape[each]! <= extent);
  if (!fits) throw tensorError('gather', [input, index], `the index must have as many dimensions as the input, and no size larger than the input's but for dimension ${own}`);
  const part = index.shape.reduce((whole, extent, each) => (each === own || extent === whole.shape[each] ? whole : narrow(whole, each, 0, extent)), input);
  return apply(GATHER, [part, index], { dimension: own });
}

/** The index of one dimension, for all of the others. */
function repeatedIndex(index: Tensor): IndexedView {
  return { of: index, strides: [0, 1, 0] };
}

const INDEX_SELECT: Operation<Along> = {
  name: 'indexSelect',
  forward(context, [input, index], { dimension }) {
    const [from, at] = [denseOf(input!), denseOf(index!)];
    const result = empty(input!.shape.map((extent, each) => (each === dimension ? index!.size : extent)), input!.dtype, input!.device);
    result.device.gather(threeOf(result.shape, dimension), input!.shape[dimension]!, { indexed: inThree(from, dimension), index: repeatedIndex(at), picked: inThree(result, dimension) });
    saveDense(context, at, index!);
    if (from !== input) from.dispose();
    return result;
  },
  backward({ saved: [index], inputs: [input] }, gradient, { dimension }) {
    const sums = filled(input!.shape, 0, 'f32', gradient.device);
    const upper = denseOf(gradient, 'f32');
    sums.device.scatterAdd(threeOf(gradient.shape, dimension), input!.shape[dimension]!, { indexed: inThree(sums, dimension), index: repeatedIndex(index!), picked: inThree(upper, dimension) });
    if (upper !== gradient) upper.dispose();
    return [inDtype(sums, input!.dtype), null];
  },
};

/** The places of a dimension that an index of 1 dimension names, in its order. */
export function indexSelect(input: Tensor, dimension: number, index: Tensor): Tensor {
  checkIndex('indexSelect', input, index);
  if (index.rank !== 1) throw tensorError('indexSelect', [input, index], 'the index must have 1 dimension');
  return apply(INDEX_SELECT, [input, index], { dimension: dimensionOf('indexSelect', input, dimension) });
}

const EMBEDDING: Operation<{ readonly paddingIndex: number | null }> = {
  name: 'embedding',
  forward(context, [weight, tokens]) {
    const [table, rows] = [denseOf(weight!), denseOf(tokens!, 'i32')];
    const result = empty([...tokens!.shape, weight!.shape[1]!], weight!.dtype, weight!.device);
    if (result.size > 0) result.device.embedding(result, table, rows);
    saveDense(context, rows, tokens!);
    if (table !== weight) table.dispose();
    return result;
  },
  backward({ saved: [tokens], inputs: [weight] }, gradient, { paddingIndex }) {
    const sums = filled(weight!.shape, 0, 'f32', gradient.device);
    const upper = denseOf(gradient);
    if (upper.size > 0) sums.device.embeddingBackward(sums, upper, tokens!);
    if (upper !== gradient) upper.dispose();
    if (paddingIndex !== null) {
      using row = viewOf(sums, [weight!.shape[1]!], [1], paddingIndex * weight!.shape[1]!);
      using zero = filled([], 0, 'f32', gradient.device);
      sums.device.map('copy', row, zero);
    }
    return [inDtype(sums, weight!.dtype), null];
  },
};

/** Row tokens[...] of the weight, [tokens, columns]. The row at `paddingIndex` has no gradient. */
export function embedding(weight: Tensor, tokens: Tensor, { paddingIndex = null }: { readonly paddingIndex?: number | null } = {}): Tensor {
  checkIndex('embedding', weight, tokens);
  if (weight.rank !== 2) throw tensorError('embedding', [weight, tokens], 'the weight must have 2 dimensions');
  if (!isFloating(weight.dtype)) return reshape(indexSelect(weight, 0, reshape(tokens, -1)), ...tokens.shape, weight.shape[1]!);
  const rows = weight.shape[0]!;
  if (paddingIndex !== null && !(Number.isInteger(paddingIndex) && paddingIndex >= 0 && paddingIndex < rows)) throw tensorError('embedding', [weight, String(paddingIndex)], `the padding must be one of its ${rows} rows`);
  return apply(EMBEDDING, [weight, tokens], { paddingIndex });
}

const CAT: Operation<Along> = {
  name: 'cat',
  autocast: 'widest',
  forward(_, inputs, { dimension }) {
    const [first] = inputs as [Tensor];
    const others = (shape: Shape): Shape => shape.filter((_extent, each) => each !== dimension);
    for (const input of inputs) {
      if (input.rank !== first.rank || !isSameShape(others(input.shape), others(first.shape))) throw tensorError('cat', [first, input], `their shapes must be equal but for dimension ${dimension}`);
    }
    const dtype = inputs.reduce((widest, input) => promote(widest, input.dtype), first.dtype);
    const result = empty(first.shape.map((extent, each) => (each === dimension ? inputs.reduce((total, input) => total + input.shape[dimension]!, 0) : extent)), dtype, first.device);
    let start = 0;
    for (const input of inputs) {
      using place = viewOf(result, input.shape, result.strides, start * result.strides[dimension]!);
      if (input.size > 0) result.device.map('copy', place, input);
      start += input.shape[dimension]!;
    }
    return result;
  },
  backward({ inputs, wants }, gradient, { dimension }) {
    let start = 0;
    return inputs.map(({ shape, dtype }, index) => {
      const offset = gradient.offset + start * gradient.strides[dimension]!;
      start += shape[dimension]!;
      if (!wants[index]) return null;
      return gradientOfOwn({ shape, dtype }, viewOf(gradient, shape, gradient.strides, sizeOf(shape) === 0 ? gradient.offset : offset));
    });
  },
};

/** One behind the other, along a dimension. */
export function cat(tensors: readonly Tensor[], dimension = 0): Tensor {
  if (tensors.length === 0) throw tensorError('cat', ['nothing'], 'it takes one tensor at least');
  return apply(CAT, tensors, { dimension: dimensionOf('cat', tensors[0]!, dimension) });
}

/** Along a new dimension. */
export function stack(tensors: readonly Tensor[], dimension = 0): Tensor {
  if (tensors.length === 0) throw tensorError('stack', ['nothing'], 'it takes one tensor at least');
  for (const tensor of tensors) if (!isSameShape(tensor.shape, tensors[0]!.shape)) throw tensorError('stack', [tensors[0]!, tensor], 'their shapes must be equal');
  return cat(tensors.map((tensor) => unsqueeze(tensor, dimension)), dimension);
}

/** Numbers on and below the diagonal of the last two dimensions (or the `diagonal`-th above it), and zeros. */
export function tril(input: Tensor, diagonal = 0): Tensor {
  if (input.rank < 2) throw tensorError('tril', [input], 'it takes 2 dimensions at least');
  return where(lowerTriangle(input.shape.at(-2)!, input.shape.at(-1)!, { diagonal, device: input.device }), input, filled([], 0, input.dtype));
}

/** Numbers on and above the diagonal of the last two dimensions (or the `diagonal`-th above it), and zeros. */
export function triu(input: Tensor, diagonal = 0): Tensor {
  if (input.rank < 2) throw tensorError('triu', [input], 'it takes 2 dimensions at least');
  return where(lowerTriangle(input.shape.at(-2)!, input.shape.at(-1)!, { diagonal: diagonal - 1, device: input.device }), filled([], 0, input.dtype), input);
}

interface Triangle {
  readonly rows: number;
  readonly columns: number;
  readonly diagonal: number;
  readonly device: Device;
}

const LOWER_TRIANGLE: Operation<Triangle> = {
  name: 'tril',
  forward(_, __, { rows, columns, diagonal, device }) {
    const mask = empty([rows, columns], 'bool', device);
    const truths = new Uint8Array(rows * columns);
    for (let row = 0; row < rows; row++) truths.fill(1, row * columns, row * columns + Math.max(0, Math.min(columns, row + 1 + diagonal)));
    device.write(mask, truths);
    return mask;
  },
  backward: () => [],
};

/** A bool: whether a column is at most `diagonal` right of the diagonal. */
export function lowerTriangle(rows: number, columns: number, { diagonal = 0, device = cpu }: { readonly diagonal?: number; readonly device?: Device } = {}): Tensor {
  return apply(LOWER_TRIANGLE, [], { rows, columns, diagonal, device });
}
