/**
 * What each operation is in ONNX: a row for each name, from its inputs to the name of its result.
 * Source: onnx/docs/Operators.md, operator set 18.
 */
import { promote, type Dtype } from '../dtype.js';
import { filled, type Tensor } from '../tensor.js';
import { computedIn, type Site } from './graph-builder.js';
import type { Attribute } from './model-file.js';
import { isSame } from './sizes.js';

/** @returns the name of the result, in the operation's dtype */
type Lowering = (site: Site) => string;

type Attributes = Readonly<Record<string, Attribute>>;

/** A node on the whole operation's inputs, as they are: what moves numbers and computes nothing. */
const moved = (opType: string, attributesOf: (site: Site) => Attributes = () => ({})): Lowering => (site) =>
  site.node(opType, Array.from({ length: site.inputCount }, (_, index) => site.input(index)), attributesOf(site));

/** A node on the inputs in the dtype in which results of this one are computed. */
const computed = (opType: string, attributesOf: (site: Site) => Attributes = () => ({})): Lowering => (site) => {
  const dtype = computedIn(site.dtype);
  return site.result(site.node(opType, Array.from({ length: site.inputCount }, (_, index) => site.inputIn(index, dtype)), attributesOf(site)), dtype);
};

/** Nodes on the only input, in f32. */
const inF32 = (body: (site: Site, input: string) => string): Lowering => (site) => site.result(body(site, site.inputIn(0, 'f32')), 'f32');

/** A truth value of two inputs, compared in the dtype that holds both. */
const compared = (opType: string, isNegated = false): Lowering => (site) => {
  const dtype = computedIn(promote(site.inputDtype(0), site.inputDtype(1)));
  const result = site.node(opType, [site.inputIn(0, dtype), site.inputIn(1, dtype)]);
  return isNegated ? site.node('Not', [result]) : result;
};

const refused = (rule: string): Lowering => (site) => site.refuse(rule);

const TRAINING_ONLY = 'a loss belongs to training: export the module that makes what it is computed from';

export const LOWERINGS: Readonly<Record<string, Lowering>> = {
  contiguous: (site) => site.input(0),
  clone: (site) => site.input(0),
  detach: (site) => site.input(0),
  to: (site) => site.inputIn(0, site.dtype),
  reshape,
  permute: moved('Transpose', (site) => ({ perm: site.each<readonly number[], readonly number[]>((order) => order)[0]! })),
  expand,
  slice,
  cat: (site) => site.node('Concat', Array.from({ length: site.inputCount }, (_, index) => site.inputIn(index, site.dtype)), axisOf(site)),

  add: computed('Add'),
  sub: computed('Sub'),
  mul: computed('Mul'),
  div: computed('Div'),
  pow: computed('Pow'),
  maximum: computed('Max'),
  minimum: computed('Min'),
  neg: computed('Neg'),
  abs: computed('Abs'),
  exp: computed('Exp'),
  log: computed('Log'),
  log1p: inF32((site, input) => site.node('Log', [site.node('Add', [input, site.number(1, 'f32')])])),
  expm1: inF32((site, input) => site.node('Sub', [site.node('Exp', [input]), site.number(1, 'f32')])),
  sqrt: computed('Sqrt'),
  tanh: computed('Tanh'),
  sigmoid: computed('Sigmoid'),
  eq: compared('Equal'),
  ne: compared('Equal', true),
  lt: compared('Less'),
  le: compared('LessOrEqual'),
  where(site) {
    const dtype = computedIn(site.dtype);
    return site.result(site.node('Where', [site.input(0), site.inputIn(1, dtype), site.inputIn(2, dtype)]), dtype);
  },

  relu: computed('Relu'),
  silu: inF32((site, input) => site.node('Mul', [input, site.node('Sigmoid', [input])])),
  gelu: inF32(gelu),
  softmax: computed('Softmax', () => ({ axis: -1 })),
  logSoftmax: computed('LogSoftmax', () => ({ axis: -1 })),
  dropout: refused('it drops at random, also in use: pass it `training: this.training`'),

  matmul: computed('MatMul'),
  linear,
  conv2d: computed('Conv', (site) => ({ ...windowOf(site), group: site.same('number of groups', ({ groups }: { readonly groups: number }) => groups) })),
  maxPool2d: computed('MaxPool', (site) => windowOf(site)),
  avgPool2d: averagePool,
  scaledDotProductAttention: attention,

  layerNorm: (site) => site.result(site.node('LayerNormalization', [0, 1, 2].map((index) => site.inputIn(index, 'f32')),
    { axis: -site.inputShape(1).length, epsilon: { float: site.same('epsilon', ({ epsilon }: Norm) => epsilon) } }), 'f32'),
  batchNorm(site) {
    const [running] = site.each(({ running: statistics }: Norm) => statistics);
    if (!running) return site.refuse("it normalises with the batch's own statistics: pass it `running` where it is used");
    const statistics = [running.mean, running.variance].map((tensor) => site.cast(site.tensor(tensor), tensor.dtype, 'f32'));
    return site.result(site.node('BatchNormalization', [...[0, 1, 2].map((index) => site.inputIn(index, 'f32')), ...statistics], { epsilon: { float: site.same('epsilon', ({ epsilon }: Norm) => epsilon) } }), 'f32');
  },

  sum: reduction('ReduceSum'),
  mean: reduction('ReduceMean'),
  amax: reduction('ReduceMax'),
  amin: reduction('ReduceMin'),
  argmax: placeOf('ArgMax'),
  argmin: placeOf('ArgMin'),
  argsort(site) {
    const largest = site.same('order', ({ descending }: Order) => descending) ? 1 : 0;
    return site.secondOutput('TopK', [site.inputIn(0, computedIn(site.inputDtype(0))), site.sizes([site.each(({ count }: Order) => count)])], { axis: -1, largest, sorted: 1 });
  },

  gather: moved('GatherElements', axisOf),
  indexSelect: moved('Gather', axisOf),
  embedding: moved('Gather', () => ({ axis: 0 })),

  full: filledOf,
  arange,
  tril(site) {
    const ones = site.node('ConstantOfShape', [site.sizes([site.each(({ rows }: Triangle) => rows), site.each(({ columns }: Triangle) => columns)])], { value: { tensor: filled([1], 1, 'f32') } });
    return triangleOf(site, ones, site.same('diagonal', ({ diagonal }: Triangle) => diagonal));
  },

  scatter: moved('ScatterElements', axisOf),
  scatterAdd(site) {
    const dtype = computedIn(site.dtype);
    return site.result(site.node('ScatterElements', [site.inputIn(0, dtype), site.input(1), site.inputIn(2, dtype)], { ...axisOf(site), reduction: 'add' }), dtype);
  },
  maskedSelect: (site) => site.node('Compress', [site.input(0), site.node('Reshape', [site.input(1), site.integers([-1])])]),

  crossEntropy: refused(TRAINING_ONLY),
  binaryCrossEntropy: refused(TRAINING_ONLY),
};

interface Window {
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number];
  readonly dilation: readonly [number, number];
  readonly overhang: readonly [number, number];
}

interface Pool {
  readonly window: Window;
  readonly pooling: string;
}

interface Norm {
  readonly epsilon: number;
  readonly running: { readonly mean: Tensor; readonly variance: Tensor } | null;
}

interface Triangle {
  readonly rows: number;
  readonly columns: number;
  readonly diagonal: number;
}

interface Order {
  readonly descending: boolean;
  readonly count: number;
}

interface Along {
  readonly dimension: number;
}

interface Reduce {
  readonly dimensions: readonly number[];
  readonly keepDimensions: boolean;
}

function axisOf(site: Site): Attributes {
  return { axis: site.same('dimension', ({ dimension }: Along) => dimension) };
}

function windowIn(site: Site): Window {
  return JSON.parse(site.same('window', ({ window }: { readonly window: Window }) => JSON.stringify(window))) as Window;
}

function windowAttributes({ kernel, stride, padding, dilation, overhang }: Window): Attributes {
  return { kernel_shape: kernel, strides: stride, pads: [...padding, ...padding.map((size, side) => size + overhang[side]!)], dilations: dilation };
}

const windowOf = (site: Site): Attributes => windowAttributes(windowIn(site));

/** What counts of the margins is padded first where not all of it does. Dilations, which this operator has only from operator set 19 on, are 1. */
function averagePool(site: Site): string {
  const window = windowIn(site);
  const input = site.inputIn(0, 'f32');
  const countsPadding = site.same('pooling', ({ pooling }: Pool) => pooling) === 'mean-padded' && window.padding.some((size) => size > 0);
  const isPadded = countsPadding && window.overhang.some((size) => size > 0);
  const margins = [0, 0, ...window.padding];
  const images = isPadded ? site.node('Pad', [input, site.integers([...margins, ...margins])]) : input;
  const { dilations: _, ...attributes } = windowAttributes(isPadded ? { ...window, padding: [0, 0] } : window);
  return site.result(site.node('AveragePool', [images], { ...attributes, count_include_pad: countsPadding && !isPadded ? 1 : 0 }), 'f32');
}

/** A size that stands where it stood before is copied (0 in ONNX's shape), and one other may be what is left (-1). */
function reshape(site: Site): string {
  const shapes = site.each((shape: readonly number[]) => shape);
  if (!isSame(shapes.map(({ length }) => length))) site.refuse('its number of dimensions depends on a dynamic axis');
  if (shapes.some((shape) => shape.includes(0))) site.refuse('it has no elements: a size of 0 means another thing in ONNX');
  const rows = shapes[0]!.map((_, dimension) => shapes.map((shape) => shape[dimension]!));
  let isLeft = false;
  const wanted = rows.map((values, dimension) => {
    if (isSame(values)) return values;
    if (site.inputSizes(0, dimension).every((size, run) => size === values[run])) return values.map(() => 0);
    if (isLeft) return values;
    isLeft = true;
    return values.map(() => -1);
  });
  return site.node('Reshape', [site.input(0), site.sizes(wanted)]);
}

/** In ONNX both shapes broadcast: a size of 1 keeps what is there. */
function expand(site: Site): string {
  const shapes = site.each((shape: readonly number[]) => shape);
  const missing = shapes[0]!.length - site.inputShape(0).length;
  const rows = shapes[0]!.map((_, dimension) => {
    const values = shapes.map((shape) => shape[dimension]!);
    const isKept = dimension >= missing && site.inputSizes(0, dimension - missing).every((size, run) => size === values[run]);
    return isKept ? values.map(() => 1) : values;
  });
  const dtype = computedIn(site.dtype);
  return site.result(site.node('Expand', [site.inputIn(0, dtype), site.sizes(rows)]), dtype);
}

interface Slice {
  readonly dimension: number;
  readonly start: number;
  readonly length: number;
  readonly step: number;
}

/** Beyond every end. */
const END = 2 ** 31 - 1;

/** Places that keep their distance from the end are counted from there. */
function slice(site: Site): string {
  const dimension = site.same('dimension', ({ dimension: own }: Slice) => own);
  const step = site.same('step', ({ step: own }: Slice) => own);
  const extents = site.inputSizes(0, dimension);
  const starts = site.each(({ start }: Slice) => start);
  const ends = site.each(({ start, length }: Slice) => (length === 0 ? start : start + (length - 1) * step + 1));
  const placed = (places: readonly number[]): readonly number[] => {
    const distances = places.map((place, run) => extents[run]! - place);
    if (isSame(places) || !isSame(distances)) return places;
    return places.map(() => (distances[0]! === 0 ? END : -distances[0]!));
  };
  // A step may not come to the last element: the end may be anywhere before the next one.
  const atEnd = ends.every((end, run) => extents[run]! - end < step) && !isSame(ends) ? ends.map(() => END) : placed(ends);
  return site.node('Slice', [site.input(0), site.sizes([placed(starts)]), site.sizes([atEnd]), site.integers([dimension]), site.integers([step])]);
}

/** x / 2 * (1 + erf(x / sqrt 2)), or with tanh. */
function gelu(site: Site, input: string): string {
  const half = site.node('Mul', [input, site.number(0.5, 'f32')]);
  const multiplied = (name: string, factor: number): string => site.node('Mul', [name, site.number(factor, 'f32')]);
  const curve = site.same('approximation', (kernel: string) => kernel) === 'geluErf'
    ? site.node('Erf', [multiplied(input, Math.SQRT1_2)])
    : site.node('Tanh', [multiplied(site.node('Add', [input, multiplied(site.node('Pow', [input, site.number(3, 'f32')]), 0.044715)]), Math.sqrt(2 / Math.PI))]);
  return site.node('Mul', [half, site.node('Add', [curve, site.number(1, 'f32')])]);
}

/** One node for a matrix of rows. Of more dimensions, a product and a sum. */
function linear(site: Site): string {
  const [input, weight] = [site.inputIn(0, 'f32'), site.inputIn(1, 'f32')];
  const bias = site.inputCount > 2 ? [site.inputIn(2, 'f32')] : [];
  if (site.inputShape(0).length === 2) return site.result(site.node('Gemm', [input, weight, ...bias], { transB: 1 }), 'f32');
  const product = site.node('MatMul', [input, site.node('Transpose', [weight], { perm: [1, 0] })]);
  return site.result(bias.length === 0 ? product : site.node('Add', [product, ...bias]), 'f32');
}

/** softmax(query * key^T * scale, with what lies ahead masked) * value */
function attention(site: Site): string {
  const scale = site.same('scale', (attributes: { readonly scale: number }) => attributes.scale);
  const isCausal = site.same('causality', (attributes: { readonly isCausal: boolean }) => attributes.isCausal);
  const [query, key, value] = [site.inputIn(0, 'f32'), site.inputIn(1, 'f32'), site.inputIn(2, 'f32')];
  const order = site.inputShape(1).map((_, dimension) => dimension);
  order.push(order.splice(-2, 1)[0]!);
  const scores = site.node('MatMul', [site.node('Mul', [query, site.number(scale, 'f32')]), site.node('Transpose', [key], { perm: order })]);
  const masked = isCausal ? site.node('Where', [causalMask(site, scores), scores, site.number(-Infinity, 'f32')]) : scores;
  return site.result(site.node('MatMul', [site.node('Softmax', [masked], { axis: -1 }), value]), 'f32');
}

/** A bool of [queries, keys]: what each may see. */
function causalMask(site: Site, scores: string): string {
  const sizes = [0, 1].map((index) => site.inputSizes(index, site.inputShape(index).length - 2));
  const shape = sizes.every(isSame) ? site.integers(sizes.map(([size]) => size!)) : site.node('Shape', [scores], { start: -2 });
  return triangleOf(site, site.node('ConstantOfShape', [shape], { value: { tensor: filled([1], 1, 'f32') } }), 0);
}

function triangleOf(site: Site, ones: string, diagonal: number): string {
  return site.cast(site.node('Trilu', [ones, site.number(diagonal, 'i64')], { upper: 0 }), 'f32', 'bool');
}

/** The dimensions that are reduced, as an input. Of none, nothing is reduced. */
function reducing(site: Site): { readonly axes: string; readonly attributes: Attributes } {
  const [{ dimensions, keepDimensions }] = site.each((attributes: Reduce) => attributes) as readonly [Reduce];
  return { axes: site.integers(dimensions), attributes: { keepdims: keepDimensions ? 1 : 0, noop_with_empty_axes: 1 } };
}

function reduction(opType: string): Lowering {
  return (site) => {
    const dtype = computedIn(site.dtype);
    const { axes, attributes } = reducing(site);
    return site.result(site.node(opType, [site.inputIn(0, dtype), axes], attributes), dtype);
  };
}

/** Among all elements, it is a place in a row of them. */
function placeOf(opType: string): Lowering {
  return (site) => {
    const [{ dimensions, keepDimensions }] = site.each((attributes: Reduce) => attributes) as readonly [Reduce];
    const dtype = computedIn(site.inputDtype(0));
    const input = site.inputIn(0, dtype);
    if (dimensions.length === 1) return site.node(opType, [input], { axis: dimensions[0]!, keepdims: keepDimensions ? 1 : 0 });
    const place = site.node(opType, [site.node('Reshape', [input, site.integers([-1])])], { axis: 0, keepdims: 0 });
    return keepDimensions ? site.node('Reshape', [place, site.integers(dimensions.map(() => 1))]) : place;
  };
}

/** Only where its shape depends on a dynamic axis: others are constants. */
function filledOf(site: Site): string {
  const shapes = site.each(({ shape }: { readonly shape: readonly number[] }) => shape);
  const value = site.same('number', ({ value: own }: { readonly value: number }) => own);
  const dtype = computedIn(site.dtype);
  const rows = shapes[0]!.map((_, dimension) => shapes.map((shape) => shape[dimension]!));
  return site.result(site.node('ConstantOfShape', [site.sizes(rows)], { value: { tensor: filled([1], value, dtype) } }), dtype);
}

function arange(site: Site): string {
  const [from, step] = [site.same('start', (range: { readonly from: number }) => range.from), site.same('step', (range: { readonly step: number }) => range.step)];
  const dtype: Dtype = Number.isInteger(from) && Number.isInteger(step) ? 'i64' : 'f32';
  const count = site.node('Reshape', [site.sizes([site.each((range: { readonly count: number }) => range.count)]), site.integers([])]);
  const places = site.cast(site.node('Range', [site.number(0, 'i64'), count, site.number(1, 'i64')]), 'i64', dtype);
  const scaled = step === 1 ? places : site.node('Mul', [places, site.number(step, dtype)]);
  return site.result(from === 0 ? scaled : site.node('Add', [scaled, site.number(from, dtype)]), dtype);
}
