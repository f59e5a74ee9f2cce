/**
 * Losses as a Gaussian process wants them: with mean 0 and deviation 1, and the worse half drawn together logarithmically, so that a few
 * terrible trials do not hide the differences between the good ones. The better half keeps its shape, so what improves on it is expected
 * as it was.
 */

/** The way from losses to what the model sees, and back. */
export class LossScale {
  readonly #middle: number;
  readonly #softness: number;
  readonly #mean: number;
  readonly #deviation: number;

  /** Of at least one loss. What is good is told from typical losses: those of trials that nobody chose, which do not crowd around a minimum. */
  constructor(losses: readonly number[], typical: readonly number[]) {
    const sorted = [...typical].sort((a, b) => a - b);
    const better = sorted.slice(0, Math.max(1, sorted.length >> 1));
    this.#middle = sorted[sorted.length >> 1]!;
    this.#softness = rootMeanSquare(better.map((loss) => loss - this.#middle)) || rootMeanSquare(typical.map((loss) => loss - this.#middle)) || 1;
    const softened = losses.map((loss) => this.#soften(loss));
    this.#mean = softened.reduce((sum, loss) => sum + loss, 0) / softened.length;
    this.#deviation = rootMeanSquare(softened.map((loss) => loss - this.#mean)) || 1;
  }

  scaled(loss: number): number {
    return (this.#soften(loss) - this.#mean) / this.#deviation;
  }

  lossOf(scaled: number): number {
    const softened = scaled * this.#deviation + this.#mean;
    return softened <= this.#middle ? softened : this.#middle + this.#softness * Math.expm1((softened - this.#middle) / this.#softness);
  }

  #soften(loss: number): number {
    return loss <= this.#middle ? loss : this.#middle + this.#softness * Math.log1p((loss - this.#middle) / this.#softness);
  }
}

function rootMeanSquare(values: readonly number[]): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}
