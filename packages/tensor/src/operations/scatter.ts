/** Writing and picking by index and by mask: what needs to know, number by number, where it goes. Indices and masks are read where they lie. */
import { apply, type Operation } from '../autograd/graph.js';
import { isFloating, promoteWithNumber } from '../dtype.js';
import { tensorError } from '../failure.js';
import { denseStrides, isSameShape, type Shape } from '../shape.js';
import { copyOf, denseOf, empty, filled, type Tensor } from '../tensor.js';
import { where } from './arithmetic.js';
import { broadcastShape, dimensionOf, mapped, reshapedDense } from './raw.js';
import { expand, narrow } from './views.js';

interface Along {
  readonly dimension: number;
}

/** For each number of an index, in order, which number of a dense tensor it means. @throws TensorError for an index outside */
function placesOf(name: string, target: { readonly shape: Shape }, index: Tensor, dimension: number): Float64Array {
  const dense = denseOf(index);
  const numbers = dense.device.read(dense) as BigInt64Array | Int32Array;
  const strides = denseStrides(target.shape);
  const own = denseStrides(index.shape);
  const extent = target.shape[dimension]!;
  const places = new Float64Array(index.size);
  for (let number = 0; number < places.length; number++) {
    const at = Number(numbers[number]);
    if (!(at >= 0 && at < extent)) throw tensorError(name, [index], `the index ${at} is outside a dimension of ${extent}`);
    let place = at * strides[dimension]!;
    for (let each = 0; each < own.length; each++) if (each !== dimension) place += (Math.floor(number / own[each]!) % index.shape[each]!) * strides[each]!;
    places[number] = place;
  }
  if (dense !== index) dense.dispose();
  return places;
}

/** Places as an index of one dimension. */
function indexOf(places: ArrayLike<number>, like: Tensor): Tensor {
  const index = empty([places.length], 'i64', like.device);
  if (places.length > 0) like.device.write(index, BigInt64Array.from(places, BigInt));
  return index;
}

/** input.flatten()[index], of the index's length. */
function picked(input: Tensor, index: Tensor): Tensor {
  const dense = denseOf(input);
  const result = empty([index.size], input.dtype, input.device);
  const one: Shape = [0, 1, 0];
  if (index.size > 0) result.device.gather([1, index.size, 1], dense.size, { indexed: { of: dense, strides: one }, index: { of: index, strides: one }, picked: { of: result, strides: one } });
  if (dense !== input) dense.dispose();
  return result;
}

/** sums.flatten()[index] += source; f32. */
function addAt(sums: Tensor, index: Tensor, source: Tensor): void {
  const one: Shape = [0, 1, 0];
  const upper = denseOf(source, 'f32');
  if (index.size > 0) sums.device.scatterAdd([1, index.size, 1], sums.size, { indexed: { of: sums, strides: one }, index: { of: index, strides: one }, picked: { of: upper, strides: one } });
  if (upper !== source) upper.dispose();
}

/** As {@link picked}, in a shape. */
function pickedIn(shape: Shape, input: Tensor, index: Tensor): Tensor {
  using numbers = picked(input, index);
  return reshapedDense(numbers, shape);
}

const SCATTER: Operation<Along> = {
  name: 'scatter',
  forward(context, [input, index, source], { dimension }) {
    const places = placesOf('scatter', input!, index!, dimension);
    const writers = new Float64Array(input!.size).fill(-1);
    places.forEach((place, number) => { writers[place] = number; });
    using winners = indexOf(writers.map((writer) => Math.max(writer, 0)), input!);
    const written = empty(input!.shape, 'bool', input!.device);
    if (writers.length > 0) written.device.write(written, Uint8Array.from(writers, (writer) => (writer < 0 ? 0 : 1)));
    using inPlace = places.length === 0 ? copyOf(input!) : pickedIn(input!.shape, source!, winners);
    const result = mapped('where', input!.shape, input!.dtype, written, inPlace, input!);
    context.saveOwn(written, indexOf(places, input!));
    return result;
  },
  backward({ saved: [written, places], inputs, wants }, gradient) {
    using zero = filled([], 0, gradient.dtype, gradient.device);
    return [
      wants[0] ? mapped('where', gradient.shape, gradient.dtype, written!, zero, gradient) : null,
      null,
      wants[2] ? pickedIn(inputs[2]!.shape, gradient, places!) : null,
    ];
  },
};

const SCATTER_ADD: Operation<Along> = {
  name: 'scatterAdd',
  forward(context, [input, index, source], { dimension }) {
    const places = placesOf('scatterAdd', input!, index!, dimension);
    if (!isFloating(input!.dtype)) return addIntegers(input!, places, source!);
    const sums = copyOf(input!, 'f32');
    const at = indexOf(places, input!);
    addAt(sums, at, source!);
    context.saveOwn(at);
    if (input!.dtype === 'f32') return sums;
    using own = sums;
    return copyOf(own, input!.dtype);
  },
  backward({ saved: [places], inputs, wants }, gradient) {
    return [gradient, null, wants[2] ? pickedIn(inputs[2]!.shape, gradient, places!) : null];
  },
};

function addIntegers(input: Tensor, places: Float64Array, source: Tensor): Tensor {
  const sums = copyOf(input, 'i64');
  using added = copyOf(source, 'i64');
  const [to, from] = [sums, added].map((each) => each.device.read(each) as BigInt64Array) as [BigInt64Array, BigInt64Array];
  places.forEach((place, number) => { to[place] = to[place]! + from[number]!; });
  sums.device.write(sums, to);
  if (input.dtype === 'i64') return sums;
  using own = sums;
  return copyOf(own, input.dtype);
}

function checkScatter(name: string, input: Tensor, index: Tensor, source: Tensor, dimension: number): void {
  const all = [input, index, source];
  if (index.dtype !== 'i64' && index.dtype !== 'i32') throw tensorError(name, all, 'the index must be i64 or i32');
  if (input.dtype !== source.dtype) throw tensorError(name, all, 'what is written must have the dtype of what it is written into: convert with to()');
  const fits = input.rank === index.rank && index.rank === source.rank && index.shape.every((extent, each) => extent <= source.shape[each]! && (each === dimension || extent <= input.shape[each]!));
  if (!fits) throw tensorError(name, all, `the index must have as many dimensions as the others, and no size larger than the source's, or than the input's but for dimension ${dimension}`);
}

/** The part of the source that the index says where to write. */
function writtenOf(source: Tensor, index: Tensor): Tensor {
  return index.shape.reduce((part, extent, dimension) => (extent === part.shape[dimension] ? part : narrow(part, dimension, 0, extent)), source);
}

/** A copy in which result[index[i][j][k]][j][k] = source[i][j][k], for dimension 0; as torch.scatter. Where two are written to one place, the last stays. */
export function scatter(input: Tensor, dimension: number, index: Tensor, source: Tensor): Tensor {
  const own = dimensionOf('scatter', input, dimension);
  checkScatter('scatter', input, index, source, own);
  return apply(SCATTER, [input, index, writtenOf(source, index)], { dimension: own });
}

/** As {@link scatter}, but numbers are added to what is there. */
export function scatterAdd(input: Tensor, dimension: number, index: Tensor, source: Tensor): Tensor {
  const own = dimensionOf('scatterAdd', input, dimension);
  checkScatter('scatterAdd', input, index, source, own);
  return apply(SCATTER_ADD, [input, index, writtenOf(source, index)], { dimension: own });
}

const MASKED_SELECT: Operation<null> = {
  name: 'maskedSelect',
  forward(context, [input, mask]) {
    const dense = denseOf(mask!);
    const flags = dense.device.read(dense) as Uint8Array;
    const places: number[] = [];
    flags.forEach((flag, place) => { if (flag !== 0) places.push(place); });
    if (dense !== mask) dense.dispose();
    const index = indexOf(places, input!);
    const result = picked(input!, index);
    context.saveOwn(index);
    return result;
  },
  backward({ saved: [index], inputs: [input] }, gradient) {
    const sums = filled(input!.shape, 0, 'f32', gradient.device);
    addAt(sums, index!, gradient);
    if (input!.dtype === 'f32') return [sums, null];
    using own = sums;
    return [copyOf(own, input!.dtype), null];
  },
};

function checkMask(name: string, input: Tensor, mask: Tensor): Shape {
  if (mask.dtype !== 'bool') throw tensorError(name, [input, mask], 'the mask must be bool: compare it with something');
  return broadcastShape(name, input, mask);
}

/** The numbers where the mask holds, one behind the other; both broadcast. */
export function maskedSelect(input: Tensor, mask: Tensor): Tensor {
  const shape = checkMask('maskedSelect', input, mask);
  return apply(MASKED_SELECT, [expand(input, ...shape), expand(mask, ...shape)], null);
}

/** `value` where the mask holds; the mask broadcasts to the input. */
export function maskedFill(input: Tensor, mask: Tensor, value: number): Tensor {
  const shape = checkMask('maskedFill', input, mask);
  if (!isSameShape(shape, input.shape)) throw tensorError('maskedFill', [input, mask], 'the mask must broadcast to the input, and not the other way round');
  if (promoteWithNumber(input.dtype, value) !== input.dtype && input.dtype !== 'bool') throw tensorError('maskedFill', [input, String(value)], 'a number with a fraction has no place among integers: convert with to()');
  return where(mask, input.dtype === 'bool' ? filled([], value === 0 ? 0 : 1, 'bool') : value, input);
}
