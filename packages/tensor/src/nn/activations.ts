/** Activations as modules, with PyTorch's names and defaults. */
import * as activations from '../operations/activations.js';
import { sigmoid, tanh } from '../operations/arithmetic.js';
import * as composed from '../operations/composed-activations.js';
import type { Tensor } from '../tensor.js';
import { constantParameter } from './initialization.js';
import { Module } from './module.js';

/** What it gets. */
export class Identity extends Module {
  forward(input: Tensor): Tensor {
    return input;
  }
}

export class ReLU extends Module {
  forward(input: Tensor): Tensor {
    return activations.relu(input);
  }
}

export class GELU extends Module {
  readonly #approximate: 'none' | 'tanh';

  constructor({ approximate = 'none' }: { readonly approximate?: 'none' | 'tanh' } = {}) {
    super();
    this.#approximate = approximate;
  }

  forward(input: Tensor): Tensor {
    return activations.gelu(input, { approximate: this.#approximate });
  }
}

export class SiLU extends Module {
  forward(input: Tensor): Tensor {
    return activations.silu(input);
  }
}

export class Tanh extends Module {
  forward(input: Tensor): Tensor {
    return tanh(input);
  }
}

export class Sigmoid extends Module {
  forward(input: Tensor): Tensor {
    return sigmoid(input);
  }
}

export class Softmax extends Module {
  readonly #dimension: number;

  constructor(dimension: number) {
    super();
    this.#dimension = dimension;
  }

  forward(input: Tensor): Tensor {
    return activations.softmax(input, this.#dimension);
  }
}

export class SELU extends Module {
  forward(input: Tensor): Tensor {
    return composed.selu(input);
  }
}

export class Mish extends Module {
  forward(input: Tensor): Tensor {
    return composed.mish(input);
  }
}

export class ReLU6 extends Module {
  forward(input: Tensor): Tensor {
    return composed.relu6(input);
  }
}

export class Hardsigmoid extends Module {
  forward(input: Tensor): Tensor {
    return composed.hardsigmoid(input);
  }
}

export class Hardswish extends Module {
  forward(input: Tensor): Tensor {
    return composed.hardswish(input);
  }
}

export class LogSigmoid extends Module {
  forward(input: Tensor): Tensor {
    return composed.logSigmoid(input);
  }
}

export class Softsign extends Module {
  forward(input: Tensor): Tensor {
    return composed.softsign(input);
  }
}

export class LeakyReLU extends Module {
  readonly #slope: number;

  constructor(slope = 0.01) {
    super();
    this.#slope = slope;
  }

  forward(input: Tensor): Tensor {
    return composed.leakyRelu(input, this.#slope);
  }
}

export class ELU extends Module {
  readonly #alpha: number;

  constructor(alpha = 1) {
    super();
    this.#alpha = alpha;
  }

  forward(input: Tensor): Tensor {
    return composed.elu(input, this.#alpha);
  }
}

export class Softplus extends Module {
  readonly #options: { readonly beta?: number; readonly threshold?: number };

  constructor(options: { readonly beta?: number; readonly threshold?: number } = {}) {
    super();
    this.#options = options;
  }

  forward(input: Tensor): Tensor {
    return composed.softplus(input, this.#options);
  }
}

export class Hardtanh extends Module {
  readonly #range: { readonly min?: number; readonly max?: number };

  constructor(range: { readonly min?: number; readonly max?: number } = {}) {
    super();
    this.#range = range;
  }

  forward(input: Tensor): Tensor {
    return composed.hardtanh(input, this.#range);
  }
}

/** Learns its slope below 0: one, or one for each channel. */
export class PReLU extends Module {
  readonly weight: Tensor;

  constructor(channels = 1, { initial = 0.25 }: { readonly initial?: number } = {}) {
    super();
    this.weight = constantParameter([channels], initial);
  }

  forward(input: Tensor): Tensor {
    return composed.prelu(input, this.weight);
  }
}

export class GLU extends Module {
  readonly #dimension: number;

  constructor(dimension = -1) {
    super();
    this.#dimension = dimension;
  }

  forward(input: Tensor): Tensor {
    return composed.glu(input, this.#dimension);
  }
}

export class LogSoftmax extends Module {
  readonly #dimension: number;

  constructor(dimension: number) {
    super();
    this.#dimension = dimension;
  }

  forward(input: Tensor): Tensor {
    return activations.logSoftmax(input, this.#dimension);
  }
}
