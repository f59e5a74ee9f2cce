/** Losses. Under autocast they are computed in f32. */
import { autocastInputs } from '../amp/policy.js';
import { apply, type Operation } from '../autograd/graph.js';
import { isFloating } from '../dtype.js';
import { invalid, tensorError } from '../failure.js';
import { isSameShape, sizeOf } from '../shape.js';
import { copyOf, denseOf, empty, firstNumber, numberTensor, viewOf, type Tensor } from '../tensor.js';
import { abs, add, div, eq, exp, log, lt, maximum, mul, ne, neg, sub, to, where } from './arithmetic.js';
import { logSoftmax } from './activations.js';
import { gather, indexSelect } from './indexing.js';
import { log1p } from './logarithms.js';
import { mapped, reduced, saveDense } from './raw.js';
import { mean, sum } from './reductions.js';
import { reshape, squeeze, transpose, unsqueeze } from './views.js';

export type Reduction = 'mean' | 'sum' | 'none';

export interface LossOptions {
  readonly reduction?: Reduction;
}

/** @throws MusterError INVALID_ARGUMENT */
function checkReduction(reduction: Reduction): void {
  if (reduction !== 'mean' && reduction !== 'sum' && reduction !== 'none') throw invalid(`a reduction '${String(reduction)}'`, "'mean', 'sum' or 'none'");
}

function reduceLoss(losses: Tensor, reduction: Reduction): Tensor {
  checkReduction(reduction);
  return reduction === 'none' ? losses : reduction === 'sum' ? sum(losses) : mean(losses);
}

/** Two tensors of one shape, as the loss computes them. */
function compared(name: string, input: Tensor, target: Tensor): readonly [Tensor, Tensor] {
  if (!isSameShape(input.shape, target.shape)) throw tensorError(name, [input, target], 'both must have one shape');
  return autocastInputs('f32', [input, target]) as unknown as readonly [Tensor, Tensor];
}

interface CrossEntropy {
  readonly ignoreIndex: number;
  readonly reduction: Reduction;
}

/** Rows' targets as i32, with -1 for those that do not count; and how many count. */
function countedTargets(targets: Tensor, ignoreIndex: number): { readonly counted: Tensor; readonly count: number } {
  using ignored = numberTensor(ignoreIndex, 'i64');
  using none = numberTensor(-1, 'i64');
  using isCounted = mapped('notEqual', targets.shape, 'bool', targets, ignored);
  using zero = numberTensor(0, 'i64');
  using right = mapped('where', targets.shape, 'i64', isCounted, targets, zero);
  using least = targets.size > 0 ? reduced('smallest', right, [0]) : zero;
  const smallest = firstNumber(least);
  if (smallest < 0) throw tensorError('crossEntropy', [targets], `one of them is ${smallest}: a target must be a class, or ignoreIndex, which is ${ignoreIndex}`);
  const counted = mapped('where', targets.shape, 'i32', isCounted, targets, none);
  using total = reduced('sum', isCounted, [0], { dtype: 'i64' });
  return { counted, count: firstNumber(total) };
}

const CROSS_ENTROPY: Operation<CrossEntropy> = {
  name: 'crossEntropy',
  autocast: 'f32',
  forward(context, [logits, targets], { ignoreIndex, reduction }) {
    const { counted, count } = countedTargets(targets!, ignoreIndex);
    const dense = denseOf(logits!);
    const [rows, columns] = logits!.shape as readonly [number, number];
    const losses = empty([rows], 'f32', logits!.device);
    if (rows > 0) losses.device.crossEntropy(losses, null, { logits: dense, targets: counted, columns, gradientScale: 1 });
    saveDense(context, dense, logits!);
    context.saveOwn(counted);
    if (reduction === 'none' && logits!.dtype === 'f32') return losses;
    using own = losses;
    return reduction === 'none' ? copyOf(own, logits!.dtype) : reduced('sum', own, [0], { dtype: logits!.dtype, factor: reduction === 'mean' ? 1 / count : 1 });
  },
  backward({ saved: [logits, targets] }, gradient, { reduction }) {
    const [rows, columns] = logits!.shape as readonly [number, number];
    const slope = empty(logits!.shape, logits!.dtype, logits!.device);
    using losses = empty([rows], 'f32', logits!.device);
    using upper = copyOf(gradient, 'f32');
    const whole = reduction === 'none' ? 1 : firstNumber(upper);
    const gradientScale = reduction === 'mean' ? whole / countOf(targets!) : whole;
    if (rows > 0) slope.device.crossEntropy(losses, slope, { logits: logits!, targets: targets!, columns, gradientScale });
    if (reduction === 'none') {
      using perRow = viewOf(upper, [rows, 1], [1, 0]);
      slope.device.map('multiply', slope, slope, perRow);
    }
    return [slope, null];
  },
};

function countOf(targets: Tensor): number {
  return (targets.device.read(targets) as Int32Array).reduce((count, target) => count + (target === -1 ? 0 : 1), 0);
}

export interface CrossEntropyOptions extends LossOptions {
  /** How much each class counts, [classes]. A mean is then over what the targets count together. */
  readonly weight?: Tensor | null;
  /** Targets of this value do not count. */
  readonly ignoreIndex?: number;
  /** The share of each target that is spread over all classes. */
  readonly labelSmoothing?: number;
}

/** [rows, classes, ...] as [all rows, classes]. */
function inRows(tensor: Tensor): Tensor {
  const [first, classes, ...others] = tensor.shape as readonly [number, number, ...number[]];
  return tensor.rank === 2 ? tensor : reshape(transpose(unsqueeze(tensor, -1), 1, -1), sizeOf([first, ...others]), classes);
}

interface OneRow {
  readonly row: Tensor;
  readonly target: Tensor;
  readonly reduction: Reduction;
}

/** The loss of one row by that of rows. */
function ofOneRow(name: string, { row, target, reduction }: OneRow, loss: (rows: Tensor, targets: Tensor) => Tensor): Tensor {
  if (!isFloating(row.dtype) || (target.rank > 0 && !isSameShape(row.shape, target.shape))) throw tensorError(name, [row, target], 'it takes floating [classes] and one class, or floating [rows, classes, ...] and a class for each row');
  const whole = loss(unsqueeze(row, 0), unsqueeze(target, 0));
  return reduction === 'none' ? squeeze(whole, 0) : whole;
}

function checkWeight(name: string, logits: Tensor, weight: Tensor | null): void {
  if (weight !== null && (weight.rank !== 1 || weight.size !== logits.shape[1] || !isFloating(weight.dtype))) throw tensorError(name, [logits, weight], `the weight must be a number for each of the ${logits.shape[1]} classes`);
}

/**
 * Of logits [rows, classes] (or [rows, classes, ...], or [classes]) and what is right: classes, i64 or i32 [rows] (or [rows, ...], or []), or the share of each class,
 * floating and of the logits' shape. The mean is over the targets that count.
 */
export function crossEntropy(logits: Tensor, targets: Tensor, { reduction = 'mean', weight = null, ignoreIndex = -100, labelSmoothing = 0 }: CrossEntropyOptions = {}): Tensor {
  checkReduction(reduction);
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) throw invalid(`a label smoothing of ${labelSmoothing}`, 'from 0 to 1');
  if (logits.rank === 1) return ofOneRow('crossEntropy', { row: logits, target: targets, reduction }, (row, target) => crossEntropy(row, target, { reduction, weight, ignoreIndex, labelSmoothing }));
  checkWeight('crossEntropy', logits, weight);
  if (isFloating(targets.dtype)) return ofShares(logits, targets, { reduction, weight, labelSmoothing });
  const isIndex = targets.dtype === 'i64' || targets.dtype === 'i32';
  const fits = logits.rank >= 2 && isSameShape([logits.shape[0]!, ...logits.shape.slice(2)], targets.shape);
  if (!isFloating(logits.dtype) || !isIndex || !fits) throw tensorError('crossEntropy', [logits, targets], 'it takes floating logits [rows, classes, ...] and i64 or i32 targets [rows, ...], or floating ones of the same shape');
  const [rows, flat] = [inRows(logits), reshape(targets, -1)];
  const isPlain = weight === null && labelSmoothing === 0;
  const losses = isPlain ? apply(CROSS_ENTROPY, [rows, flat], { ignoreIndex, reduction }) : weighed(rows, flat, { reduction, weight, ignoreIndex, labelSmoothing });
  return reduction === 'none' ? reshape(losses, ...targets.shape) : losses;
}

/** For each row what its target counts: 0 for those that do not. And the class to look up, which for those is any. */
function counting(targets: Tensor, weight: Tensor | null, ignoreIndex: number): { readonly isCounted: Tensor; readonly counts: Tensor; readonly classes: Tensor } {
  const isCounted = ne(targets, ignoreIndex);
  const classes = where(isCounted, targets, 0);
  return { isCounted, counts: weight === null ? to(isCounted, 'f32') : where(isCounted, indexSelect(weight, 0, classes), 0), classes };
}

/** The number of each row's class, times what the row counts. */
function rightOf(logarithms: Tensor, { isCounted, counts, classes }: ReturnType<typeof counting>): Tensor {
  return where(isCounted, mul(squeeze(gather(logarithms, 1, unsqueeze(classes, 1)), 1), to(counts, logarithms.dtype)), 0);
}

/** Losses of rows that count differently, reduced. */
function reduceCounted(losses: Tensor, counts: Tensor, reduction: Reduction): Tensor {
  return reduction === 'mean' ? to(div(sum(losses), sum(counts)), losses.dtype) : reduceLoss(losses, reduction);
}

function weighed(rows: Tensor, targets: Tensor, { reduction, weight, ignoreIndex, labelSmoothing }: Required<CrossEntropyOptions>): Tensor {
  const [logits] = autocastInputs('f32', [rows]) as readonly [Tensor];
  const counted = counting(targets, weight, ignoreIndex);
  const logarithms = logSoftmax(logits, 1);
  const right = rightOf(logarithms, counted);
  if (labelSmoothing === 0) return reduceCounted(neg(right), counted.counts, reduction);
  const all = where(counted.isCounted, sum(weight === null ? logarithms : mul(logarithms, weight), 1), 0);
  return reduceCounted(neg(add(mul(right, 1 - labelSmoothing), mul(all, labelSmoothing / rows.shape[1]!))), counted.counts, reduction);
}

/** Of the share that each class has; the mean is over the rows. */
function ofShares(logits: Tensor, shares: Tensor, { reduction, weight, labelSmoothing }: Required<Omit<CrossEntropyOptions, 'ignoreIndex'>>): Tensor {
  if (logits.rank < 2 || !isFloating(logits.dtype) || !isSameShape(logits.shape, shares.shape)) throw tensorError('crossEntropy', [logits, shares], 'floating targets are the shares of the classes: they must have the shape of the logits');
  const [rows, targets] = autocastInputs('f32', [inRows(logits), inRows(shares)]) as readonly [Tensor, Tensor];
  const smooth = labelSmoothing === 0 ? targets : add(mul(targets, 1 - labelSmoothing), labelSmoothing / logits.shape[1]!);
  const products = mul(logSoftmax(rows, 1), smooth);
  const losses = neg(sum(weight === null ? products : mul(products, weight), 1));
  return reduction === 'none' ? reshape(losses, logits.shape[0]!, ...logits.shape.slice(2)) : reduceLoss(losses, reduction);
}

/** From the logarithms of shares, [rows, classes, ...], as {@link logSoftmax} makes them, and classes. */
export function nllLoss(logarithms: Tensor, targets: Tensor, { reduction = 'mean', weight = null, ignoreIndex = -100 }: Omit<CrossEntropyOptions, 'labelSmoothing'> = {}): Tensor {
  if (logarithms.rank === 1) return ofOneRow('nllLoss', { row: logarithms, target: targets, reduction }, (row, target) => nllLoss(row, target, { reduction, weight, ignoreIndex }));
  const fits = logarithms.rank >= 2 && isSameShape([logarithms.shape[0]!, ...logarithms.shape.slice(2)], targets.shape);
  if (!fits || !isFloating(logarithms.dtype)) throw tensorError('nllLoss', [logarithms, targets], 'it takes floating [rows, classes, ...] and targets [rows, ...]');
  checkWeight('nllLoss', logarithms, weight);
  const [shares] = autocastInputs('f32', [inRows(logarithms)]) as readonly [Tensor];
  const counted = counting(reshape(targets, -1), weight, ignoreIndex);
  const losses = reduceCounted(neg(rightOf(shares, counted)), to(counted.counts, shares.dtype), reduction);
  return reduction === 'none' ? reshape(losses, ...targets.shape) : losses;
}

/** The square of the difference. */
export function mseLoss(input: Tensor, target: Tensor, { reduction = 'mean' }: LossOptions = {}): Tensor {
  const difference = sub(...compared('mseLoss', input, target));
  return reduceLoss(mul(difference, difference), reduction);
}

/** The absolute difference. */
export function l1Loss(input: Tensor, target: Tensor, { reduction = 'mean' }: LossOptions = {}): Tensor {
  return reduceLoss(abs(sub(...compared('l1Loss', input, target))), reduction);
}

/** Half of the square of a difference below `delta`, and from there on a line of slope `delta`. */
export function huberLoss(input: Tensor, target: Tensor, { reduction = 'mean', delta = 1 }: LossOptions & { readonly delta?: number } = {}): Tensor {
  const difference = abs(sub(...compared('huberLoss', input, target)));
  const losses = where(lt(difference, delta), mul(mul(difference, difference), 0.5), mul(sub(difference, delta / 2), delta));
  return reduceLoss(losses, reduction);
}

/** As {@link huberLoss}, divided by its `beta`: of slope 1 from there on. With 0 it is {@link l1Loss}. */
export function smoothL1Loss(input: Tensor, target: Tensor, { reduction = 'mean', beta = 1 }: LossOptions & { readonly beta?: number } = {}): Tensor {
  if (!(beta >= 0)) throw invalid(`a beta of ${beta}`, '0 or more');
  if (beta === 0) return l1Loss(input, target, { reduction });
  const difference = abs(sub(...compared('smoothL1Loss', input, target)));
  const losses = where(lt(difference, beta), mul(mul(difference, difference), 0.5 / beta), sub(difference, beta / 2));
  return reduceLoss(losses, reduction);
}

/** The logarithm of a share below this is taken for it, as in PyTorch. */
const LOGARITHM_MIN = -100;
/** The slope's denominator is no smaller, as in PyTorch. */
const SLOPE_MIN = 1e-12;

/** max(log(shares), -100) and max(log(1 - shares), -100), f32. */
function logarithmsOf(shares: Tensor): readonly [Tensor, Tensor] {
  using least = numberTensor(LOGARITHM_MIN);
  using one = numberTensor(1);
  return [mapped('copy', shares.shape, 'f32', shares), mapped('subtract', shares.shape, 'f32', one, shares)].map((each) => {
    each.device.map('logarithm', each, each);
    each.device.map('maximum', each, each, least);
    return each;
  }) as unknown as readonly [Tensor, Tensor];
}

const BINARY_CROSS_ENTROPY: Operation<null> = {
  name: 'binaryCrossEntropy',
  forward(context, [shares, targets]) {
    for (const [reduction, isInside] of [['smallest', (value: number) => value >= 0], ['largest', (value: number) => value <= 1]] as const) {
      if (shares!.size === 0) continue;
      using extreme = reduced(reduction, shares!, shares!.shape.map((_, dimension) => dimension), { dtype: 'f32' });
      const value = firstNumber(extreme);
      if (!isInside(value)) throw tensorError('binaryCrossEntropy', [shares!, targets!], `one of the shares is ${value}: they must be from 0 to 1; of logits take binaryCrossEntropyWithLogits()`);
    }
    const [yes, no] = logarithmsOf(shares!);
    using first = yes;
    using second = no;
    // targets * yes + (1 - targets) * no = targets * (yes - no) + no
    first.device.map('subtract', first, first, second);
    first.device.map('multiplyAdd', first, first, targets!, second);
    context.save(shares!, targets!);
    return mapped('negate', shares!.shape, shares!.dtype, first);
  },
  backward({ saved: [shares, targets], wants }, gradient) {
    using one = numberTensor(1);
    using least = numberTensor(SLOPE_MIN);
    const slope = (): Tensor => {
      using rest = mapped('subtract', shares!.shape, 'f32', one, shares!);
      rest.device.map('multiply', rest, rest, shares!);
      rest.device.map('maximum', rest, rest, least);
      using difference = mapped('subtract', shares!.shape, 'f32', shares!, targets!);
      rest.device.map('divide', rest, difference, rest);
      return mapped('multiply', shares!.shape, shares!.dtype, rest, gradient);
    };
    const targetSlope = (): Tensor => {
      const [yes, no] = logarithmsOf(shares!);
      using first = yes;
      using second = no;
      second.device.map('subtract', second, second, first);
      return mapped('multiply', targets!.shape, targets!.dtype, second, gradient);
    };
    return [wants[0] ? slope() : null, wants[1] ? targetSlope() : null];
  },
};

export interface BinaryCrossEntropyOptions extends LossOptions {
  /** How much each number counts; it broadcasts. */
  readonly weight?: Tensor | null;
}

/** Of shares from 0 to 1. @throws TensorError for others */
export function binaryCrossEntropy(input: Tensor, target: Tensor, { reduction = 'mean', weight = null }: BinaryCrossEntropyOptions = {}): Tensor {
  const losses = apply(BINARY_CROSS_ENTROPY, compared('binaryCrossEntropy', input, target), null);
  return reduceLoss(weight === null ? losses : mul(losses, weight), reduction);
}

export interface LogitsOptions extends BinaryCrossEntropyOptions {
  /** How much more a target of 1 counts than one of 0; it broadcasts. */
  readonly posWeight?: Tensor | null;
}

/** As {@link binaryCrossEntropy} of the sigmoid of logits, without its rounding. */
export function binaryCrossEntropyWithLogits(input: Tensor, target: Tensor, { reduction = 'mean', weight = null, posWeight = null }: LogitsOptions = {}): Tensor {
  const [logits, targets] = compared('binaryCrossEntropyWithLogits', input, target);
  // log(1 + e^-x) = log(1 + e^-|x|) + max(-x, 0)
  const tail = add(log1p(exp(neg(abs(logits)))), maximum(neg(logits), 0));
  const weighedTail = posWeight === null ? tail : mul(tail, add(mul(targets, sub(posWeight, 1)), 1));
  const losses = add(mul(sub(1, targets), logits), weighedTail);
  return reduceLoss(weight === null ? losses : mul(losses, weight), reduction);
}

export interface DivergenceOptions {
  /** 'batchmean' divides the sum by the first dimension: what the divergence is in mathematics. */
  readonly reduction?: Reduction | 'batchmean';
  /** Whether the target is of logarithms, too. */
  readonly logTarget?: boolean;
}

/** From logarithms of shares to the shares that are right. */
export function klDivergence(logarithms: Tensor, target: Tensor, { reduction = 'mean', logTarget = false }: DivergenceOptions = {}): Tensor {
  const [shares, targets] = compared('klDivergence', logarithms, target);
  const losses = logTarget ? mul(exp(targets), sub(targets, shares)) : divergenceOf(shares, targets);
  return reduction === 'batchmean' ? div(sum(losses), logarithms.shape[0] ?? 1) : reduceLoss(losses, reduction);
}

/** targets * (log(targets) - shares), and 0 where the target is. */
function divergenceOf(shares: Tensor, targets: Tensor): Tensor {
  const isZero = eq(targets, 0);
  return where(isZero, 0, mul(targets, sub(log(where(isZero, 1, targets)), shares)));
}
