/**
 * Losses as a Gaussian process wants them: with mean 0 and deviation 1, and spread about as a normal variable is. The worse half is first drawn
 * together logarithmically, so that a few terrible trials do not hide the differences between the others. Then a power that fits draws the worse
 * ones together and the good ones apart, as far as most of them crowd where they are good.
 * Source: Cowen-Rivers et al., 2022, "HEBO" (a model of losses under a power that is fitted).
 */
import { momentsOf, rootMeanSquare, type Moments } from '../numeric/moments.js';
import { normalizingPower, unwarp, warp } from '../numeric/yeo-johnson.js';

/** The way from losses to what the model sees, and back. */
export class LossScale {
  readonly #middle: number;
  readonly #softness: number;
  readonly #softened: Moments;
  readonly #power: number;
  readonly #warped: Moments;

  /** Of at least one loss. What is good is told from typical losses: those of trials that nobody chose, which do not crowd around a minimum. */
  constructor(losses: readonly number[], typical: readonly number[]) {
    const sorted = [...typical].sort((a, b) => a - b);
    const better = sorted.slice(0, Math.max(1, sorted.length >> 1));
    this.#middle = sorted[sorted.length >> 1]!;
    this.#softness = rootMeanSquare(better.map((loss) => loss - this.#middle)) || rootMeanSquare(typical.map((loss) => loss - this.#middle)) || 1;
    this.#softened = momentsOf(losses.map((loss) => this.#soften(loss)));
    const standard = losses.map((loss) => this.#standard(loss));
    this.#power = normalizingPower(standard);
    this.#warped = momentsOf(standard.map((x) => warp(x, this.#power)));
  }

  scaled(loss: number): number {
    return (warp(this.#standard(loss), this.#power) - this.#warped.mean) / this.#warped.deviation;
  }

  /** The loss that is scaled to this; Infinity where none is scaled to so much. */
  lossOf(scaled: number): number {
    const standard = unwarp(scaled * this.#warped.deviation + this.#warped.mean, this.#power);
    const softened = standard * this.#softened.deviation + this.#softened.mean;
    return softened <= this.#middle ? softened : this.#middle + this.#softness * Math.expm1((softened - this.#middle) / this.#softness);
  }

  #standard(loss: number): number {
    return (this.#soften(loss) - this.#softened.mean) / this.#softened.deviation;
  }

  #soften(loss: number): number {
    return loss <= this.#middle ? loss : this.#middle + this.#softness * Math.log1p((loss - this.#middle) / this.#softness);
  }
}
