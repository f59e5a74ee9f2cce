/** Logarithms and powers of e around 1, where 1 + x has lost what x was. Source: Kahan, in Higham 2002, 1.14.1; Goldberg 1991, theorem 4. */
import { apply, type Operation } from '../autograd/graph.js';
import { isFloating, type Dtype } from '../dtype.js';
import { numberTensor, type Tensor } from '../tensor.js';
import { mapped } from './raw.js';

const dtypeOf = (input: Tensor): Dtype => (isFloating(input.dtype) ? input.dtype : 'f32');

const LOG1P: Operation<null> = {
  name: 'log1p',
  forward(context, [input]) {
    using one = numberTensor(1);
    using sum = mapped('add', input!.shape, 'f32', input!, one);
    using logarithm = mapped('logarithm', sum.shape, 'f32', sum);
    using part = mapped('subtract', sum.shape, 'f32', sum, one);
    using lost = mapped('equal', sum.shape, 'bool', sum, one);
    using infinity = numberTensor(Infinity);
    using isInfinite = mapped('equal', sum.shape, 'bool', sum, infinity);
    // What the sum rounded away, its logarithm lacks in the same proportion.
    part.device.map('divide', part, input!, part);
    part.device.map('where', part, isInfinite, one, part);
    logarithm.device.map('multiply', logarithm, logarithm, part);
    context.save(input!);
    return mapped('where', sum.shape, dtypeOf(input!), lost, input!, logarithm);
  },
  backward({ saved: [input] }, gradient) {
    using one = numberTensor(1);
    using sum = mapped('add', input!.shape, 'f32', input!, one);
    return [mapped('divide', gradient.shape, gradient.dtype, gradient, sum)];
  },
};

/** log(1 + x), exact also where x is small. */
export function log1p(input: Tensor): Tensor {
  return apply(LOG1P, [input], null);
}

const EXPM1: Operation<null> = {
  name: 'expm1',
  forward(context, [input]) {
    using one = numberTensor(1);
    using zero = numberTensor(0);
    using power = mapped('exponential', input!.shape, 'f32', input!);
    using less = mapped('subtract', power.shape, 'f32', power, one);
    using logarithm = mapped('logarithm', power.shape, 'f32', power);
    using ratio = mapped('divide', power.shape, 'f32', input!, logarithm);
    using lost = mapped('equal', power.shape, 'bool', power, one);
    // Where the power is 0 or infinite its logarithm says nothing, and nothing is lost.
    using isTiny = mapped('equal', power.shape, 'bool', power, zero);
    using infinity = numberTensor(Infinity);
    using isInfinite = mapped('equal', power.shape, 'bool', power, infinity);
    ratio.device.map('where', ratio, isTiny, one, ratio);
    ratio.device.map('where', ratio, isInfinite, one, ratio);
    less.device.map('multiply', less, less, ratio);
    const result = mapped('where', power.shape, dtypeOf(input!), lost, input!, less);
    context.save(result);
    return result;
  },
  backward({ saved: [result] }, gradient) {
    return [mapped('multiplyAdd', gradient.shape, gradient.dtype, gradient, result!, gradient)];
  },
};

/** e^x - 1, exact also where x is small. */
export function expm1(input: Tensor): Tensor {
  return apply(EXPM1, [input], null);
}
