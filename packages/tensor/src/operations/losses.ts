/** Losses. Under autocast they are computed in f32. */
import { autocastInputs } from '../amp/policy.js';
import { apply, type Operation } from '../autograd/graph.js';
import { isFloating } from '../dtype.js';
import { invalid, tensorError } from '../failure.js';
import { isSameShape } from '../shape.js';
import { copyOf, denseOf, empty, firstNumber, numberTensor, viewOf, type Tensor } from '../tensor.js';
import { abs, add, div, eq, exp, log, lt, maximum, mul, ne, neg, sub, where } from './arithmetic.js';
import { logSoftmax } from './activations.js';
import { gather } from './indexing.js';
import { mapped, reduced, saveDense } from './raw.js';
import { mean, sum } from './reductions.js';
import { reshape, squeeze, transpose, unsqueeze } from './views.js';

export type Reduction = 'mean' | 'sum' | 'none';

export interface LossOptions {
  readonly reduction?: Reduction;
}

function reduceLoss(losses: Tensor, reduction: Reduction): Tensor {
  if (reduction === 'none') return losses;
  if (reduction === 'sum') return sum(losses);
  if (reduction === 'mean') return mean(losses);
  throw invalid(`a reduction '${String(reduction)}'`, "'mean', 'sum' or 'none'");
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
    if (reduction === 'none') return logits!.dtype === 'f32' ? losses : copyOf(losses, logits!.dtype);
    using own = losses;
    return reduced('sum', own, [0], { dtype: logits!.dtype, factor: reduction === 'mean' ? 1 / count : 1 });
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
  /** Targets of this value do not count. */
  readonly ignoreIndex?: number;
  /** The share of each target that is spread over all classes. */
  readonly labelSmoothing?: number;
}

/**
 * Of logits [rows, classes] (or [rows, classes, ...]) and the classes that are right, i64 or i32 [rows] (or [rows, ...]). The mean is over the targets that
 * count.
 */
export function crossEntropy(logits: Tensor, targets: Tensor, { reduction = 'mean', ignoreIndex = -100, labelSmoothing = 0 }: CrossEntropyOptions = {}): Tensor {
  const isIndex = targets.dtype === 'i64' || targets.dtype === 'i32';
  const fits = logits.rank >= 2 && isSameShape([logits.shape[0]!, ...logits.shape.slice(2)], targets.shape);
  if (!isFloating(logits.dtype) || !isIndex || !fits) throw tensorError('crossEntropy', [logits, targets], 'it takes floating logits [rows, classes, ...] and i64 or i32 targets [rows, ...]');
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) throw invalid(`a label smoothing of ${labelSmoothing}`, 'from 0 to 1');
  const rows = logits.rank === 2 ? logits : reshape(transpose(unsqueeze(logits, -1), 1, -1), -1, logits.shape[1]!);
  const flat = reshape(targets, -1);
  if (labelSmoothing > 0) return smoothed(rows, flat, { reduction, ignoreIndex, labelSmoothing });
  const losses = apply(CROSS_ENTROPY, [rows, flat], { ignoreIndex, reduction });
  return reduction === 'none' ? reshape(losses, ...targets.shape) : losses;
}

function smoothed(rows: Tensor, targets: Tensor, { reduction, ignoreIndex, labelSmoothing }: Required<CrossEntropyOptions>): Tensor {
  const [logits] = autocastInputs('f32', [rows]) as readonly [Tensor];
  const isCounted = ne(targets, ignoreIndex);
  const logarithms = logSoftmax(logits, 1);
  const right = squeeze(gather(logarithms, 1, unsqueeze(where(isCounted, targets, 0), 1)), 1);
  const all = mean(logarithms, 1);
  const losses = where(isCounted, neg(add(mul(right, 1 - labelSmoothing), mul(all, labelSmoothing))), 0);
  if (reduction !== 'mean') return reduceLoss(losses, reduction);
  return div(sum(losses), sum(isCounted));
}

/** From the logarithms of shares, as {@link logSoftmax} makes them. */
export function nllLoss(logarithms: Tensor, targets: Tensor, { reduction = 'mean', ignoreIndex = -100 }: Omit<CrossEntropyOptions, 'labelSmoothing'> = {}): Tensor {
  if (logarithms.rank !== 2 || targets.rank !== 1 || logarithms.shape[0] !== targets.shape[0]) throw tensorError('nllLoss', [logarithms, targets], 'it takes [rows, classes] and targets [rows]');
  const [shares] = autocastInputs('f32', [logarithms]) as readonly [Tensor];
  const isCounted = ne(targets, ignoreIndex);
  const losses = where(isCounted, neg(squeeze(gather(shares, 1, unsqueeze(where(isCounted, targets, 0), 1)), 1)), 0);
  return reduction === 'mean' ? div(sum(losses), sum(isCounted)) : reduceLoss(losses, reduction);
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

/** The logarithm of a share below this is taken for it, as in PyTorch. */
const LOGARITHM_MIN = -100;

/** Of shares from 0 to 1. */
export function binaryCrossEntropy(input: Tensor, target: Tensor, { reduction = 'mean' }: LossOptions = {}): Tensor {
  const [shares, targets] = compared('binaryCrossEntropy', input, target);
  const yes = maximum(log(shares), LOGARITHM_MIN);
  const no = maximum(log(sub(1, shares)), LOGARITHM_MIN);
  return reduceLoss(neg(add(mul(targets, yes), mul(sub(1, targets), no))), reduction);
}

/** As {@link binaryCrossEntropy} of the sigmoid of logits, without its rounding. */
export function binaryCrossEntropyWithLogits(input: Tensor, target: Tensor, { reduction = 'mean' }: LossOptions = {}): Tensor {
  const [logits, targets] = compared('binaryCrossEntropyWithLogits', input, target);
  const tail = log(add(exp(neg(abs(logits))), 1));
  return reduceLoss(add(sub(maximum(logits, 0), mul(logits, targets)), tail), reduction);
}

/** From logarithms of shares to the shares that are right. */
export function klDivergence(logarithms: Tensor, target: Tensor, { reduction = 'mean' }: LossOptions = {}): Tensor {
  const [shares, targets] = compared('klDivergence', logarithms, target);
  const isZero = eq(targets, 0);
  return reduceLoss(where(isZero, 0, mul(targets, sub(log(where(isZero, 1, targets)), shares))), reduction);
}
