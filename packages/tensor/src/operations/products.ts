/** Matrix products, and the linear layer. */
import { apply, type Operation } from '../autograd/graph.js';
import type { MatrixBatch } from '../device/device.js';
import { isFloating } from '../dtype.js';
import { tensorError } from '../failure.js';
import { broadcast, broadcastStrides, denseStrides, sizeOf, viewStrides, type Shape } from '../shape.js';
import { copyOf, denseOf, empty, filled, viewOf, type Tensor } from '../tensor.js';
import { add } from './arithmetic.js';
import { gradientOfOwn, reduced, reshapedDense } from './raw.js';
import { squeeze, transpose, unsqueeze } from './views.js';

/** With rows and columns exchanged. */
function transposed(tensor: Tensor): Tensor {
  const order = tensor.shape.map((_, dimension) => dimension);
  order.push(order.splice(-2, 1)[0]!);
  return viewOf(tensor, order.map((dimension) => tensor.shape[dimension]!), order.map((dimension) => tensor.strides[dimension]!));
}

/** One of its two last strides must be 1 for packing to be fast; nothing is wrong with others. */
function matricesOf(tensor: Tensor, offset: number, batchStride: number): MatrixBatch {
  return { of: tensor, offset, rowStride: tensor.strides.at(-2)!, columnStride: tensor.strides.at(-1)!, batchStride };
}

interface ProductOptions {
  readonly alpha?: number;
}

/** Products of two batches of matrices, whose batch dimensions broadcast to those of `result`, which is dense. */
function multiplyInto(result: Tensor, left: Tensor, right: Tensor, { alpha = 1 }: ProductOptions = {}): void {
  const rank = result.rank;
  const batch = result.shape.slice(0, -2);
  const leftStrides = broadcastStrides(left.shape.slice(0, -2), left.strides.slice(0, -2), batch);
  const rightStrides = broadcastStrides(right.shape.slice(0, -2), right.strides.slice(0, -2), batch);
  const [rows, columns, depth] = [result.shape[rank - 2]!, result.shape[rank - 1]!, left.shape.at(-1)!];
  if (result.size === 0) return;
  // The last batch dimensions that go through both with one stride each are one call; the others are gone through here.
  let inner = 1;
  let leftStride = leftStrides.at(-1) ?? 0;
  let rightStride = rightStrides.at(-1) ?? 0;
  let outerRank = batch.length;
  for (; outerRank > 0; outerRank--) {
    const extent = batch[outerRank - 1]!;
    const continues = inner === 1 || extent === 1 || (leftStrides[outerRank - 1] === leftStride * inner && rightStrides[outerRank - 1] === rightStride * inner);
    if (!continues) break;
    if (inner === 1) [leftStride, rightStride] = [leftStrides[outerRank - 1]!, rightStrides[outerRank - 1]!];
    inner *= extent;
  }
  const outer = batch.slice(0, outerRank);
  const calls = sizeOf(outer);
  const outerStrides = denseStrides(outer);
  for (let call = 0; call < calls; call++) {
    let [leftOffset, rightOffset] = [left.offset, right.offset];
    outer.forEach((extent, dimension) => {
      const place = Math.floor(call / outerStrides[dimension]!) % extent;
      leftOffset += place * leftStrides[dimension]!;
      rightOffset += place * rightStrides[dimension]!;
    });
    const resultOffset = result.offset + call * inner * rows * columns;
    result.device.gemm({ of: result, offset: resultOffset, rowStride: columns, columnStride: 1, batchStride: rows * columns },
      matricesOf(left, leftOffset, leftStride), matricesOf(right, rightOffset, rightStride), { batches: inner, rows, columns, depth, alpha });
  }
}

/** left * right, of 2 dimensions and more; a right of 2 dimensions takes a dense left as one matrix. */
export function product(left: Tensor, right: Tensor, options: ProductOptions = {}): Tensor {
  const shape = [...broadcast(left.shape.slice(0, -2), right.shape.slice(0, -2))!, left.shape.at(-2)!, right.shape.at(-1)!];
  const result = empty(shape, left.dtype, left.device);
  const rows = right.rank === 2 && left.rank > 2 ? viewStrides(left.shape, left.strides, [sizeOf(left.shape.slice(0, -1)), left.shape.at(-1)!]) : null;
  if (rows === null) {
    multiplyInto(result, left, right, options);
    return result;
  }
  using flat = viewOf(left, [sizeOf(left.shape.slice(0, -1)), left.shape.at(-1)!], rows);
  using flatResult = reshapedDense(result, [flat.shape[0]!, right.shape[1]!]);
  multiplyInto(flatResult, flat, right, options);
  return result;
}

function checkMatrices(name: string, left: Tensor, right: Tensor): void {
  if (left.dtype !== right.dtype || left.dtype === 'bool') throw tensorError(name, [left, right], 'both must be numbers of one dtype: convert with to()');
  if (left.shape.at(-1) !== right.shape.at(-2)) throw tensorError(name, [left, right], `the columns of the first, ${left.shape.at(-1)}, must be as many as the rows of the second, ${right.shape.at(-2)}`);
  if (broadcast(left.shape.slice(0, -2), right.shape.slice(0, -2)) === null) throw tensorError(name, [left, right], 'the dimensions before the last two do not broadcast: they must be equal, or one of them 1');
}

/** As {@link product}, of integers: exact, and a pass over the result for each column of the left side. */
function integerProduct(left: Tensor, right: Tensor): Tensor {
  const [rows, depth, columns] = [left.shape.at(-2)!, left.shape.at(-1)!, right.shape.at(-1)!];
  const batch = broadcast(left.shape.slice(0, -2), right.shape.slice(0, -2))!;
  const result = filled([...batch, rows, columns], 0, left.dtype, left.device);
  for (let place = 0; place < depth && result.size > 0; place++) {
    using column = viewOf(left, [...left.shape.slice(0, -1), 1], left.strides, left.offset + place * left.strides.at(-1)!);
    using row = viewOf(right, [...right.shape.slice(0, -2), 1, columns], right.strides, right.offset + place * right.strides.at(-2)!);
    result.device.map('multiplyAdd', result, column, row, result);
  }
  return result;
}

const MATMUL: Operation<null> = {
  name: 'matmul',
  autocast: 'lower',
  forward(context, [left, right]) {
    checkMatrices('matmul', left!, right!);
    if (!isFloating(left!.dtype)) return integerProduct(left!, right!);
    context.save(left!, right!);
    return product(left!, right!);
  },
  backward({ saved: [left, right], inputs, wants }, gradient) {
    using flippedRight = transposed(right!);
    using flippedLeft = transposed(left!);
    return [
      wants[0] ? gradientOfOwn(inputs[0]!, product(gradient, flippedRight)) : null,
      wants[1] ? gradientOfOwn(inputs[1]!, weightGradient(flippedLeft, gradient, inputs[1]!.shape)) : null,
    ];
  },
};

/** flippedLeft * gradient. A right side of 2 dimensions was used by all matrices of a batch, which are one matrix to it. */
function weightGradient(flippedLeft: Tensor, gradient: Tensor, shape: Shape): Tensor {
  if (shape.length !== 2 || gradient.rank === 2) return product(flippedLeft, gradient);
  using left = transposed(flippedLeft);
  using dense = denseCopy(left);
  using upper = denseCopy(gradient);
  using rows = reshapedDense(dense, [sizeOf(left.shape.slice(0, -1)), left.shape.at(-1)!]);
  using upperRows = reshapedDense(upper, [rows.shape[0]!, gradient.shape.at(-1)!]);
  using flipped = transposed(rows);
  return product(flipped, upperRows);
}

/** Dense, and the caller's to dispose of. */
function denseCopy(tensor: Tensor): Tensor {
  return tensor.isDense ? viewOf(tensor, tensor.shape, tensor.strides) : copyOf(tensor);
}

/**
 * The matrix product. Dimensions before the last two are a batch, and broadcast; of 1 dimension, the first is taken for a row and the second for a column.
 * @example x.matmul(w)   // [8, 128, 64] and [64, 32] make [8, 128, 32]
 */
export function matmul(left: Tensor, right: Tensor): Tensor {
  if (left.rank === 0 || right.rank === 0) throw tensorError('matmul', [left, right], 'both must have a dimension');
  if (left.rank === 1) return squeeze(matmul(unsqueeze(left, 0), right), right.rank === 1 ? 0 : -2);
  if (right.rank === 1) return squeeze(matmul(left, unsqueeze(right, 1)), -1);
  return apply(MATMUL, [left, right], null);
}

const LINEAR: Operation<null> = {
  name: 'linear',
  autocast: 'lower',
  forward(context, [input, weight, bias]) {
    checkLinear(input!, weight!, bias);
    const dense = denseOf(input!);
    context.save(input!, weight!);
    const rows = sizeOf(input!.shape.slice(0, -1));
    const [columns, depth] = weight!.shape as [number, number];
    const result = empty([...input!.shape.slice(0, -1), columns], input!.dtype, input!.device);
    const addend = bias === undefined ? null : denseOf(bias, 'f32');
    result.device.gemm({ of: result, offset: 0, rowStride: columns, columnStride: 1, batchStride: 0 }, { of: dense, offset: dense.offset, rowStride: depth, columnStride: 1, batchStride: 0 },
      { of: weight!, offset: weight!.offset, rowStride: weight!.strides[1]!, columnStride: weight!.strides[0]!, batchStride: 0 }, { batches: 1, rows, columns, depth, bias: addend });
    if (dense !== input) dense.dispose();
    if (addend !== null && addend !== bias) addend.dispose();
    return result;
  },
  backward({ saved: [input, weight], inputs, wants }, gradient) {
    using upper = denseCopy(gradient);
    using upperRows = reshapedDense(upper, [sizeOf(upper.shape.slice(0, -1)), upper.shape.at(-1)!]);
    return [wants[0] ? product(upper, weight!) : null, wants[1] ? linearWeightGradient(input!, upperRows) : null,
      ...(inputs.length > 2 ? [wants[2] ? reduced('sum', upperRows, [0]) : null] : [])];
  },
};

/** gradient^T * input, over all rows. */
function linearWeightGradient(input: Tensor, upperRows: Tensor): Tensor {
  using dense = denseCopy(input);
  using rows = reshapedDense(dense, [upperRows.shape[0]!, input.shape.at(-1)!]);
  using flipped = transposed(upperRows);
  return product(flipped, rows);
}

function checkLinear(input: Tensor, weight: Tensor, bias: Tensor | undefined): void {
  const all = bias === undefined ? [input, weight] : [input, weight, bias];
  if (weight.rank !== 2) throw tensorError('linear', all, 'the weight must have 2 dimensions, outputs and inputs');
  if (!isFloating(input.dtype) || all.some(({ dtype }) => dtype !== input.dtype)) throw tensorError('linear', all, 'all must be of one floating dtype: convert with to()');
  if (input.rank === 0 || input.shape.at(-1) !== weight.shape[1]) throw tensorError('linear', all, `the input's last dimension must be ${weight.shape[1]}, the weight's inputs`);
  if (bias !== undefined && (bias.rank !== 1 || bias.shape[0] !== weight.shape[0])) throw tensorError('linear', all, `the bias must be [${weight.shape[0]}], the weight's outputs`);
}

/** input * weight^T + bias; the weight is [outputs, inputs]. */
export function linear(input: Tensor, weight: Tensor, bias: Tensor | null = null): Tensor {
  if (input.rank === 1) return squeeze(linear(unsqueeze(input, 0), weight, bias), 0);
  if (!isFloating(input.dtype) && input.dtype === weight.dtype && weight.rank === 2) return bias === null ? matmul(input, transpose(weight)) : add(matmul(input, transpose(weight)), bias);
  return apply(LINEAR, bias === null ? [input, weight] : [input, weight, bias], null);
}
