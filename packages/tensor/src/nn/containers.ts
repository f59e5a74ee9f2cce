/** Modules of modules. */
import { invalid } from '../failure.js';
import type { Tensor } from '../tensor.js';
import { Module } from './module.js';

/** One after another. In a state its parts are numbered. */
export class Sequential extends Module {
  readonly #modules: readonly Module[];

  constructor(...modules: Module[]) {
    super();
    const other = modules.findIndex((module) => !(module instanceof Module));
    if (other >= 0) throw invalid(`part ${other} of Sequential`, 'a module: new nn.ReLU() where relu is meant, and parts one by one, not in an array');
    this.#modules = modules;
  }

  override *children(): Generator<readonly [string, Module]> {
    for (const [index, module] of this.#modules.entries()) yield [String(index), module];
  }

  forward(input: Tensor): Tensor {
    return this.#modules.reduce((current, module) => module.forward(current), input);
  }
}
