/** Activations as modules, with PyTorch's names and defaults. */
import { gelu, logSoftmax, relu, silu, softmax } from '../operations/activations.js';
import { sigmoid, tanh } from '../operations/arithmetic.js';
import { elu, glu, hardsigmoid, hardswish, hardtanh, leakyRelu, logSigmoid, mish, prelu, relu6, selu, softplus, softsign } from '../operations/composed-activations.js';
import type { Tensor } from '../tensor.js';
import { constantParameter } from './initialization.js';
import { Module } from './module.js';

/** A function of the input alone, with its options. */
abstract class Activation extends Module {
  readonly #function: (input: Tensor) => Tensor;

  constructor(body: (input: Tensor) => Tensor) {
    super();
    this.#function = body;
  }

  forward(input: Tensor): Tensor {
    return this.#function(input);
  }
}

/** What it gets. */
export class Identity extends Activation { constructor() { super((input) => input); } }
export class ReLU extends Activation { constructor() { super(relu); } }
export class ReLU6 extends Activation { constructor() { super(relu6); } }
export class SiLU extends Activation { constructor() { super(silu); } }
export class Tanh extends Activation { constructor() { super(tanh); } }
export class Sigmoid extends Activation { constructor() { super(sigmoid); } }
export class SELU extends Activation { constructor() { super(selu); } }
export class Mish extends Activation { constructor() { super(mish); } }
export class Hardsigmoid extends Activation { constructor() { super(hardsigmoid); } }
export class Hardswish extends Activation { constructor() { super(hardswish); } }
export class LogSigmoid extends Activation { constructor() { super(logSigmoid); } }
export class Softsign extends Activation { constructor() { super(softsign); } }

export class GELU extends Activation { constructor(options?: Parameters<typeof gelu>[1]) { super((input) => gelu(input, options)); } }
export class LeakyReLU extends Activation { constructor(slope?: number) { super((input) => leakyRelu(input, slope)); } }
export class ELU extends Activation { constructor(alpha?: number) { super((input) => elu(input, alpha)); } }
export class Softplus extends Activation { constructor(options?: Parameters<typeof softplus>[1]) { super((input) => softplus(input, options)); } }
export class Hardtanh extends Activation { constructor(range?: Parameters<typeof hardtanh>[1]) { super((input) => hardtanh(input, range)); } }
export class GLU extends Activation { constructor(dimension?: number) { super((input) => glu(input, dimension)); } }
export class Softmax extends Activation { constructor(dimension: number) { super((input) => softmax(input, dimension)); } }
export class LogSoftmax extends Activation { constructor(dimension: number) { super((input) => logSoftmax(input, dimension)); } }

/** Learns its slope below 0: one, or one for each channel. */
export class PReLU extends Module {
  readonly weight: Tensor;

  constructor(channels = 1, { initial = 0.25 }: { readonly initial?: number } = {}) {
    super();
    this.weight = constantParameter([channels], initial);
  }

  forward(input: Tensor): Tensor {
    return prelu(input, this.weight);
  }
}
