/**
 * A gang: four ranks learn one line together, each from its own part of the data, and one of them is killed in the middle.
 *
 * Shows: members that start together and know their ranks; one call on all of them; a checkpoint between two calls; the gang that starts anew from it
 * when a member dies. The result is the one that it would have been without the death.
 *
 *     node --import tsx examples/gang.ts
 */
import { context, gang, init, kill, MusterError, shutdown } from '@muster/core';

const RANKS = 4;
const POINTS_PER_RANK = 5_000;
const EPOCHS = 60;
const LEARNING_RATE = 0.3;
/** At this epoch one rank kills its own process, the first time that it comes there. */
const FATAL_EPOCH = 25;

type Line = readonly [slope: number, intercept: number];

class LineFitter {
  readonly #x = new Float64Array(POINTS_PER_RANK);
  readonly #y = new Float64Array(POINTS_PER_RANK);
  #line: Line = [0, 0];
  #epoch = 0;

  constructor([slope, intercept]: Line) {
    const { rank } = context().gang!;
    for (let i = 0; i < POINTS_PER_RANK; i++) {
      this.#x[i] = (i * RANKS + rank) / (POINTS_PER_RANK * RANKS);
      this.#y[i] = slope * this.#x[i]! + intercept + 0.01 * Math.sin(1e4 * this.#x[i]!);
    }
  }

  /** The gradient of the squared error over this rank's points. */
  gradient(): Line {
    const { rank, incarnation } = context().gang!;
    if (rank === 2 && this.#epoch === FATAL_EPOCH && incarnation === 1) process.kill(process.pid, 'SIGKILL');
    let [bySlope, byIntercept] = [0, 0];
    for (let i = 0; i < POINTS_PER_RANK; i++) {
      const error = this.#line[0] * this.#x[i]! + this.#line[1] - this.#y[i]!;
      bySlope += error * this.#x[i]!;
      byIntercept += error;
    }
    return [2 * bySlope / POINTS_PER_RANK, 2 * byIntercept / POINTS_PER_RANK];
  }

  /** Goes down the mean of all ranks' gradients. */
  descend([bySlope, byIntercept]: Line): { readonly epoch: number; readonly line: Line } {
    this.#line = [this.#line[0] - LEARNING_RATE * bySlope, this.#line[1] - LEARNING_RATE * byIntercept];
    return { epoch: ++this.#epoch, line: this.#line };
  }

  checkpoint(): { readonly epoch: number; readonly line: Line } {
    return { epoch: this.#epoch, line: this.#line };
  }

  restore({ epoch, line }: { readonly epoch: number; readonly line: Line }): void {
    this.#epoch = epoch;
    this.#line = line;
    if (context().gang!.rank === 0) console.log(`incarnation ${context().gang!.incarnation} goes on at epoch ${epoch}`);
  }
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

await init();
const fitters = await gang(LineFitter, { size: RANKS, cpus: 0.25, onFailure: 'restart-all' }).create([3, -1]);
await fitters.checkpoint();

let line: Line = [0, 0];
for (let epoch = 0; epoch < EPOCHS;) {
  try {
    const gradients = await fitters.all.gradient();
    const [first] = await fitters.all.descend([mean(gradients.map(([slope]) => slope)), mean(gradients.map(([, intercept]) => intercept))]);
    ({ epoch, line } = first!);
    if (epoch % 10 === 0) {
      await fitters.checkpoint();
      console.log(`epoch ${epoch}: y = ${line[0].toFixed(3)} x ${line[1] < 0 ? '-' : '+'} ${Math.abs(line[1]).toFixed(3)}`);
    }
  } catch (error) {
    if (!(error instanceof MusterError && error.retryable)) throw error;
    console.log(`\n${error.code}: ${error.message}\n`);
  }
}
await kill(fitters);
await shutdown();
