/** Modules of modules. */
import type { Tensor } from '../tensor.js';
import { Module } from './module.js';

/** One after another. In a state its parts are numbered. */
export class Sequential extends Module {
  readonly #modules: readonly Module[];

  constructor(...modules: Module[]) {
    super();
    this.#modules = modules;
  }

  override *children(): Generator<readonly [string, Module]> {
    for (const [index, module] of this.#modules.entries()) yield [String(index), module];
  }

  forward(input: Tensor): Tensor {
    return this.#modules.reduce((current, module) => module.forward(current), input);
  }
}
