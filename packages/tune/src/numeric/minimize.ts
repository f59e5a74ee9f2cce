/**
 * Minimisation of a smooth function in a box: L-BFGS on the coordinates that are free, projected onto the box.
 * Source: Nocedal and Wright, Numerical Optimization, 7.2; Bertsekas, 1982 (projection with an active set).
 */
import { dot } from './matrix.js';

/** A function at a point. A value that is not finite counts as worse than all. */
export interface Evaluation {
  readonly value: number;
  /** The gradient there. It is asked for once at most, before anything else is evaluated, and only where the search goes on from this point. */
  readonly gradient: () => Float64Array;
}

export type Smooth<E extends Evaluation = Evaluation> = (x: Float64Array) => E;

export interface Box {
  readonly lower: Float64Array;
  readonly upper: Float64Array;
  /** How often the function may be evaluated. */
  readonly evaluationsMax: number;
  /** Where no slope along a free coordinate is steeper than this, the minimum is reached. Default 1e-7. */
  readonly gradientTolerance?: number;
}

/** A point, and the function there. */
export interface Minimum<E extends Evaluation = Evaluation> {
  readonly x: Float64Array;
  readonly evaluation: E;
}

/** Curvature pairs that are remembered. */
const MEMORY = 8;
/** Armijo's: how much of the promised decrease a step must bring. */
const SUFFICIENT_DECREASE = 1e-4;
const BACKTRACKS_MAX = 12;
const GRADIENT_TOLERANCE = 1e-7;
/** A decrease smaller than this part of the value is none. */
const VALUE_TOLERANCE = 1e-11;

/** A local minimum, from a start in the box. */
export function minimize<E extends Evaluation>(smooth: Smooth<E>, start: Float64Array, box: Box): Minimum<E> {
  return minimizeEach([{ start, box }], ([asked]) => [smooth(asked!.x)])[0]!;
}

/** A minimum that is wanted: from where, and in which box. */
export interface Search {
  readonly start: Float64Array;
  readonly box: Box;
}

/** A point at which a search wants its function evaluated. */
export interface Asked {
  /** Which of the searches it is. */
  readonly search: number;
  readonly x: Float64Array;
}

/** The local minima of several functions, which are evaluated together: each time all that searches wait for, in the order in which they are asked for. */
export function minimizeEach<E extends Evaluation>(searches: readonly Search[], evaluate: (asked: readonly Asked[]) => readonly E[]): Minimum<E>[] {
  const descents = searches.map((search) => descend<E>(search));
  const steps = descents.map((descent) => descent.next());
  for (;;) {
    const asked = steps.flatMap((step, search) => (step.done ? [] : [{ search, x: step.value }]));
    if (asked.length === 0) return steps.map(({ value }) => value as Minimum<E>);
    const evaluations = evaluate(asked);
    asked.forEach(({ search }, i) => { steps[search] = descents[search]!.next(evaluations[i]!); });
  }
}

/** Asks for the function at one point after the other, and ends with the minimum. */
function* descend<E extends Evaluation>({ start, box }: Search): Generator<Float64Array, Minimum<E>, E> {
  let x = clamp(start, box);
  let evaluation = yield x;
  if (!Number.isFinite(evaluation.value)) return { x, evaluation };
  let gradient = evaluation.gradient();
  const pairs: Pair[] = [];
  for (let evaluations = 1; evaluations < box.evaluationsMax;) {
    const free = x.map((xi, i) => ((xi <= box.lower[i]! && gradient[i]! > 0) || (xi >= box.upper[i]! && gradient[i]! < 0) ? 0 : 1));
    const steepest = gradient.map((gi, i) => -gi * free[i]!);
    if (Math.max(...steepest.map(Math.abs)) < (box.gradientTolerance ?? GRADIENT_TOLERANCE)) break;
    let direction = twoLoop(steepest, pairs).map((di, i) => di * free[i]!);
    if (dot(direction, steepest) <= 0) {
      pairs.length = 0;
      direction = steepest;
    }
    let scale = pairs.length === 0 ? Math.min(1, 0.2 / Math.sqrt(dot(direction, direction))) : 1;
    let found = false;
    for (let tries = 0; tries < BACKTRACKS_MAX && evaluations < box.evaluationsMax && !found; tries++) {
      const next = clamp(x.map((xi, i) => xi + scale * direction[i]!), box);
      const there = yield next;
      evaluations++;
      const s = next.map((xi, i) => xi - x[i]!);
      const { value } = evaluation;
      found = Number.isFinite(there.value) && there.value <= value + SUFFICIENT_DECREASE * dot(gradient, s);
      if (found) {
        [x, evaluation] = [next, there];
        if (value - there.value <= VALUE_TOLERANCE * Math.max(1, Math.abs(value)) || evaluations >= box.evaluationsMax) return { x, evaluation };
        const nextGradient = there.gradient();
        remember(pairs, s, nextGradient.map((gi, i) => gi - gradient[i]!));
        gradient = nextGradient;
      }
      scale *= 0.4;
    }
    if (!found) break;
  }
  return { x, evaluation };
}

function clamp(x: Float64Array, { lower, upper }: Box): Float64Array<ArrayBuffer> {
  return Float64Array.from(x, (xi, i) => Math.min(upper[i]!, Math.max(lower[i]!, xi)));
}

/** A step and how the gradient changed along it, with the inverse of their product. */
interface Pair {
  readonly s: Float64Array;
  readonly y: Float64Array;
  readonly rho: number;
}

/** Keeps a pair where the curvature along it is positive, which keeps the approximation positive definite. */
function remember(pairs: Pair[], s: Float64Array, y: Float64Array): void {
  const curvature = dot(s, y);
  if (curvature <= 1e-12 * Math.sqrt(dot(s, s) * dot(y, y))) return;
  pairs.push({ s, y, rho: 1 / curvature });
  if (pairs.length > MEMORY) pairs.shift();
}

/** The inverse Hessian's approximation times a vector. */
function twoLoop(vector: Float64Array, pairs: readonly Pair[]): Float64Array {
  const q = Float64Array.from(vector);
  const alphas = pairs.map(() => 0);
  for (let i = pairs.length - 1; i >= 0; i--) {
    const { s, y, rho } = pairs[i]!;
    const alpha = rho * dot(s, q);
    alphas[i] = alpha;
    for (let k = 0; k < q.length; k++) q[k]! -= alpha * y[k]!;
  }
  const last = pairs.at(-1);
  if (last) {
    const gamma = 1 / (last.rho * dot(last.y, last.y));
    for (let k = 0; k < q.length; k++) q[k]! *= gamma;
  }
  pairs.forEach(({ s, y, rho }, i) => {
    const beta = rho * dot(y, q);
    for (let k = 0; k < q.length; k++) q[k]! += s[k]! * (alphas[i]! - beta);
  });
  return q;
}
