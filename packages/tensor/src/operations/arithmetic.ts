/** Number by number: sums, products, powers, comparisons, choices. Shapes broadcast, dtypes are promoted by PyTorch's rules. */
import { apply, noGrad, type Operation, type SavedContext } from '../autograd/graph.js';
import type { Device, DeviceName, MapName } from '../device/device.js';
import { deviceNamed, isDeviceName } from '../device/devices.js';
import { DTYPES, FLOATING, isDtype, isFloating, promoteTensors, promoteWithNumber, type Dtype } from '../dtype.js';
import { tensorError } from '../failure.js';
import { numberTensor, placedOn, Tensor } from '../tensor.js';
import { broadcastShape, gradientOf, gradientOfOwn, mapped } from './raw.js';

/** A tensor, or a number that stands for one of any shape. A whole number does not change a tensor's dtype; another makes integers f32. */
export type Operand = Tensor | number;

interface Typed {
  readonly dtype: Dtype;
}

/** Gradients of both operands, before they are summed to the operands' shapes. `gradient` itself may be one of them. */
type BinaryGradients = (context: SavedContext, gradient: Tensor) => readonly [() => Tensor, () => Tensor];

function binary(name: string, map: MapName, gradients: BinaryGradients, saves: 'inputs' | 'nothing'): Operation<Typed> {
  return {
    name,
    forward(context, [first, second], { dtype }) {
      if (saves === 'inputs') context.save(first!, second!);
      return mapped(map, broadcastShape(name, first!, second!), dtype, first!, second!);
    },
    backward(context, gradient) {
      const both = gradients(context, gradient);
      return both.map((make, index) => {
        if (!context.wants[index]) return null;
        const made = make();
        return made === gradient ? gradientOf(context.inputs[index]!, made) : gradientOfOwn(context.inputs[index]!, made);
      });
    },
  };
}

/** first * second, in the gradient's shape and dtype. */
const times = (gradient: Tensor, other: Tensor): Tensor => mapped('multiply', gradient.shape, gradient.dtype, gradient, other);

const ADD = binary('add', 'add', (_, gradient) => [() => gradient, () => gradient], 'nothing');
const SUBTRACT = binary('sub', 'subtract', (_, gradient) => [() => gradient, () => mapped('negate', gradient.shape, gradient.dtype, gradient)], 'nothing');
const MULTIPLY = binary('mul', 'multiply', ({ saved: [first, second] }, gradient) => [() => times(gradient, second!), () => times(gradient, first!)], 'inputs');

const DIVIDE = binary('div', 'divide', ({ saved: [first, second] }, gradient) => [
  () => mapped('divide', gradient.shape, gradient.dtype, gradient, second!),
  () => {
    const upper = times(gradient, first!);
    using square = mapped('multiply', second!.shape, gradient.dtype, second!, second!);
    upper.device.map('divide', upper, upper, square);
    upper.device.map('negate', upper, upper);
    return upper;
  },
], 'inputs');

/** Integers to integer powers, modulo 2^64; on the host. */
function integerPowers(bases: Tensor, exponents: Tensor, dtype: Dtype): Tensor {
  const shape = broadcastShape('pow', bases, exponents);
  using results = mapped('copy', shape, 'i64', bases);
  using powers = mapped('copy', shape, 'i64', exponents);
  const [numbers, by] = [results, powers].map((each) => each.device.read(each) as BigInt64Array) as [BigInt64Array, BigInt64Array];
  by.forEach((power, index) => {
    if (power < 0n) throw tensorError('pow', [bases, exponents], `integers have no power of ${power}: convert with to()`);
    numbers[index] = numbers[index]! ** power;
  });
  results.device.write(results, numbers);
  return mapped('copy', shape, dtype, results);
}

const FLOATING_POWER = binary('pow', 'power', ({ saved: [base, exponent] }, gradient) => [
  () => {
    using one = numberTensor(1);
    using less = mapped('subtract', exponent!.shape, 'f32', exponent!, one);
    const slope = mapped('power', gradient.shape, gradient.dtype, base!, less);
    slope.device.map('multiply', slope, slope, exponent!);
    using zero = numberTensor(0);
    using isZero = mapped('equal', exponent!.shape, 'bool', exponent!, zero);
    slope.device.map('where', slope, isZero, zero, slope);  // a power of 0 is constant, also at 0
    slope.device.map('multiply', slope, slope, gradient);
    return slope;
  },
  () => {
    using zero = numberTensor(0);
    const slope = mapped('power', gradient.shape, gradient.dtype, base!, exponent!);
    using logarithm = mapped('logarithm', base!.shape, gradient.dtype, base!);
    using isZero = mapped('equal', base!.shape, 'bool', base!, zero);
    using isUp = mapped('lessEqual', exponent!.shape, 'bool', zero, exponent!);
    using isFlat = mapped('multiply', gradient.shape, 'bool', isZero, isUp);
    slope.device.map('multiply', slope, slope, logarithm);
    slope.device.map('where', slope, isFlat, zero, slope);  // powers of 0 from 0 on stay what they are
    slope.device.map('multiply', slope, slope, gradient);
    return slope;
  },
], 'inputs');

const POWER: Operation<Typed> = {
  ...FLOATING_POWER,
  forward(context, [base, exponent], { dtype }) {
    if (dtype === 'bool') throw tensorError('pow', [base!, exponent!], 'bools have no powers: convert with to()');
    return isFloating(dtype) ? FLOATING_POWER.forward(context, [base!, exponent!], { dtype }) : integerPowers(base!, exponent!, dtype);
  },
};

/** Of equal operands each has half of the gradient. */
function extreme(name: string, map: MapName): Operation<Typed> {
  return binary(name, map, ({ saved: [first, second] }, gradient) => {
    const share = (own: Tensor, other: Tensor) => () => {
      using wins = map === 'maximum' ? mapped('less', gradient.shape, gradient.dtype, other, own) : mapped('less', gradient.shape, gradient.dtype, own, other);
      using half = numberTensor(0.5);
      using isEqual = mapped('equal', gradient.shape, gradient.dtype, own, other);
      const result = mapped('multiplyAdd', gradient.shape, gradient.dtype, isEqual, half, wins);
      result.device.map('multiply', result, result, gradient);
      return result;
    };
    return [share(first!, second!), share(second!, first!)];
  }, 'inputs');
}

const MAXIMUM = extreme('maximum', 'maximum');
const MINIMUM = extreme('minimum', 'minimum');

/** What may be no operand, in an error. */
const shown = (given: unknown): Tensor | string => (given instanceof Tensor ? given : given === null ? 'null' : Array.isArray(given) ? 'an array' : typeof given);

/** Both operands as tensors, and the dtype of the result. */
function operands(name: string, first: Operand, second: Operand): { readonly pair: [Tensor, Tensor]; readonly dtype: Dtype } {
  if (first instanceof Tensor && second instanceof Tensor) return { pair: [first, second], dtype: promoteTensors(first, second) };
  const tensor = first instanceof Tensor ? first : second;
  const value = first instanceof Tensor ? second : first;
  if (!(tensor instanceof Tensor) || typeof value !== 'number') throw tensorError(name, [first, second].map(shown), 'it takes a tensor, and another or a number');
  const dtype = promoteWithNumber(tensor.dtype, value);
  const number = numberTensor(value, isFloating(dtype) || !Number.isSafeInteger(value) ? 'f32' : 'i64', tensor.device);
  return { pair: first instanceof Tensor ? [tensor, number] : [number, tensor], dtype };
}

function applyBinary(operation: Operation<Typed>, first: Operand, second: Operand): Tensor {
  const { pair, dtype } = operands(operation.name, first, second);
  return apply(operation, pair, { dtype });
}

/** As {@link applyBinary}, in floating point always. */
function applyFloating(operation: Operation<Typed>, first: Operand, second: Operand): Tensor {
  const { pair, dtype } = operands(operation.name, first, second);
  return apply(operation, pair, { dtype: isFloating(dtype) ? dtype : 'f32' });
}

export const add = (first: Operand, second: Operand): Tensor => applyBinary(ADD, first, second);
/** Not of bools, as in PyTorch: what is meant is logical. */
export function sub(first: Operand, second: Operand): Tensor {
  for (const each of [first, second]) if (each instanceof Tensor && each.dtype === 'bool') throw tensorError('sub', [each], 'of bools there is no difference: compare with ne(), or convert with to()');
  return applyBinary(SUBTRACT, first, second);
}
export const mul = (first: Operand, second: Operand): Tensor => applyBinary(MULTIPLY, first, second);
/** A true division: of integers, f32. */
export const div = (first: Operand, second: Operand): Tensor => applyFloating(DIVIDE, first, second);
/** Of integers an integer, to powers from 0 on; not of bools. */
export function pow(base: Operand, exponent: Operand): Tensor {
  return exponent === 2 && base instanceof Tensor && base.dtype !== 'bool' ? mul(base, base) : applyBinary(POWER, base, exponent);
}
export const maximum = (first: Operand, second: Operand): Tensor => applyBinary(MAXIMUM, first, second);
export const minimum = (first: Operand, second: Operand): Tensor => applyBinary(MINIMUM, first, second);

/** Between two numbers; those outside become the nearer of them, and have no gradient; NaN stays. */
export function clamp(input: Tensor, { min, max }: { readonly min?: number; readonly max?: number }): Tensor {
  const above = min === undefined ? input : where(lt(input, min), min, input);
  return max === undefined ? above : where(gt(above, max), max, above);
}

function comparison(name: string, map: MapName): (first: Operand, second: Operand) => Tensor {
  const operation: Operation<null> = {
    name,
    forward: (_, [first, second]) => mapped(map, broadcastShape(name, first!, second!), 'bool', first!, second!),
    backward: () => [null, null],
  };
  return (first, second) => noGrad(() => apply(operation, operands(name, first, second).pair, null));  // a step function: constant
}

export const eq = comparison('eq', 'equal');
export const ne = comparison('ne', 'notEqual');
export const lt = comparison('lt', 'less');
export const le = comparison('le', 'lessEqual');
export const gt = (first: Operand, second: Operand): Tensor => lt(second, first);
export const ge = (first: Operand, second: Operand): Tensor => le(second, first);

const WHERE: Operation<Typed> = {
  name: 'where',
  forward(context, [condition, first, second], { dtype }) {
    context.save(condition!);
    const shape = broadcastShape('where', condition!, { shape: broadcastShape('where', first!, second!), dtype });
    return mapped('where', shape, dtype, condition!, first!, second!);
  },
  backward({ saved: [condition], wants, inputs }, gradient) {
    using zero = numberTensor(0);
    return [
      null,
      wants[1] ? gradientOfOwn(inputs[1]!, mapped('where', gradient.shape, gradient.dtype, condition!, gradient, zero)) : null,
      wants[2] ? gradientOfOwn(inputs[2]!, mapped('where', gradient.shape, gradient.dtype, condition!, zero, gradient)) : null,
    ];
  },
};

/** `first` where the condition, a bool, holds, else `second`. */
export function where(condition: Tensor, first: Operand, second: Operand): Tensor {
  if (condition.dtype !== 'bool') throw tensorError('where', [condition], 'the condition must be bool: compare it with something');
  if (typeof first === 'number' && typeof second === 'number') return apply(WHERE, [condition, numberTensor(first), numberTensor(second)], { dtype: 'f32' });
  const { pair, dtype } = operands('where', first, second);
  return apply(WHERE, [condition, ...pair], { dtype });
}

/** The slope from input, result and gradient. */
type UnaryGradient = (saved: { readonly input: Tensor; readonly result: Tensor }, gradient: Tensor) => Tensor;

/** One map of one tensor. Floating point only, unless it `takesIntegers`. */
function unary(name: string, map: MapName, slope: UnaryGradient, { saves, takesIntegers = false }: { readonly saves: 'input' | 'result' | 'nothing'; readonly takesIntegers?: boolean }): (input: Tensor) => Tensor {
  const operation: Operation<null> = {
    name,
    forward(context, [input]) {
      if (takesIntegers && input!.dtype === 'bool') throw tensorError(name, [input!], 'it takes numbers: convert with to()');
      const isKept = takesIntegers || DTYPES[input!.dtype].category === FLOATING;
      const result = mapped(map, input!.shape, isKept ? input!.dtype : 'f32', input!);
      if (saves !== 'nothing') context.save(saves === 'input' ? input! : result);
      return result;
    },
    backward: ({ saved: [kept] }, gradient) => [slope({ input: kept!, result: kept! }, gradient)],
  };
  return (input) => apply(operation, [input], null);
}

export const neg = unary('neg', 'negate', (_, gradient) => mapped('negate', gradient.shape, gradient.dtype, gradient), { saves: 'nothing', takesIntegers: true });
export const exp = unary('exp', 'exponential', ({ result }, gradient) => times(gradient, result), { saves: 'result' });
export const log = unary('log', 'logarithm', ({ input }, gradient) => mapped('divide', gradient.shape, gradient.dtype, gradient, input), { saves: 'input' });
export const tanh = unary('tanh', 'tanh', ({ result }, gradient) => mapped('tanhBackward', gradient.shape, gradient.dtype, result, gradient), { saves: 'result' });
export const sigmoid = unary('sigmoid', 'sigmoid', ({ result }, gradient) => mapped('sigmoidBackward', gradient.shape, gradient.dtype, result, gradient), { saves: 'result' });

export const sqrt = unary('sqrt', 'squareRoot', ({ result }, gradient) => {
  using two = numberTensor(2);
  using twice = mapped('multiply', result.shape, result.dtype, result, two);
  return mapped('divide', gradient.shape, gradient.dtype, gradient, twice);
}, { saves: 'result' });

/** Its slope at 0 is 0. */
export const abs = unary('abs', 'absolute', ({ input }, gradient) => {
  using zero = numberTensor(0);
  using isPositive = mapped('less', input.shape, gradient.dtype, zero, input);
  using isNegative = mapped('less', input.shape, gradient.dtype, input, zero);
  using sign = mapped('subtract', input.shape, gradient.dtype, isPositive, isNegative);
  return times(gradient, sign);
}, { saves: 'input', takesIntegers: true });

const CAST: Operation<Typed> = {
  name: 'to',
  forward: (_, [input], { dtype }) => mapped('copy', input!.shape, dtype, input!),
  backward: ({ inputs }, gradient) => [gradientOf(inputs[0]!, gradient)],
};

const MOVE: Operation<{ readonly from: Device; readonly to: Device }> = {
  name: 'to',
  forward: (_, [input], { to: device }) => placedOn(input!, device),
  backward: (_, gradient, { from }) => [placedOn(gradient, from)],
};

/** In another dtype, or on another device ('cpu', 'cuda', 'cuda:1'); the tensor itself where that is so. @throws TensorError, MusterError INVALID_ARGUMENT for a device that is not there */
export function to(input: Tensor, where: Dtype | DeviceName): Tensor {
  if (isDeviceName(where)) {
    const device = deviceNamed(where);
    return input.device === device ? input : apply(MOVE, [input], { from: input.device, to: device });
  }
  const dtype = where;
  if (!isDtype(dtype)) throw tensorError('to', [input], `there is no dtype or device '${String(dtype)}': it must be one of ${Object.keys(DTYPES).join(', ')}, cpu and cuda`);
  if (input.dtype === dtype) return input;
  return isFloating(dtype) ? apply(CAST, [input], { dtype }) : noGrad(() => apply(CAST, [input], { dtype }));
}
