/**
 * Minimisation of a smooth function in a box: L-BFGS on the coordinates that are free, projected onto the box.
 * Source: Nocedal and Wright, Numerical Optimization, 7.2; Bertsekas, 1982 (projection with an active set).
 */
import { dot } from './matrix.js';

/** The function at x; its gradient is written into the second argument. A value that is not finite counts as worse than all. */
export type Smooth = (x: Float64Array, gradient: Float64Array) => number;

export interface Box {
  readonly lower: Float64Array;
  readonly upper: Float64Array;
  /** How often the function may be evaluated. */
  readonly evaluationsMax: number;
  /** Where no slope along a free coordinate is steeper than this, the minimum is reached. Default 1e-7. */
  readonly gradientTolerance?: number;
}

export interface Minimum {
  readonly x: Float64Array;
  readonly value: number;
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
export function minimize(smooth: Smooth, start: Float64Array, box: Box): Minimum {
  const size = start.length;
  let x = clamp(start, box);
  let gradient = new Float64Array(size);
  let value = smooth(x, gradient);
  const pairs: { s: Float64Array; y: Float64Array; rho: number }[] = [];
  for (let evaluations = 1; evaluations < box.evaluationsMax && Number.isFinite(value);) {
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
    for (let tries = 0; tries < BACKTRACKS_MAX && evaluations < box.evaluationsMax; tries++) {
      const next = clamp(x.map((xi, i) => xi + scale * direction[i]!), box);
      const nextGradient = new Float64Array(size);
      const nextValue = smooth(next, nextGradient);
      evaluations++;
      const s = next.map((xi, i) => xi - x[i]!);
      if (Number.isFinite(nextValue) && nextValue <= value + SUFFICIENT_DECREASE * dot(gradient, s)) {
        remember(pairs, s, nextGradient.map((gi, i) => gi - gradient[i]!));
        found = value - nextValue > VALUE_TOLERANCE * Math.max(1, Math.abs(value));
        [x, gradient, value] = [next, nextGradient, nextValue];
        break;
      }
      scale *= 0.4;
    }
    if (!found) break;
  }
  return { x, value };
}

function clamp(x: Float64Array, { lower, upper }: Box): Float64Array<ArrayBuffer> {
  return Float64Array.from(x, (xi, i) => Math.min(upper[i]!, Math.max(lower[i]!, xi)));
}

/** Keeps a pair where the curvature along it is positive, which keeps the approximation positive definite. */
function remember(pairs: { s: Float64Array; y: Float64Array; rho: number }[], s: Float64Array, y: Float64Array): void {
  const curvature = dot(s, y);
  if (curvature <= 1e-12 * Math.sqrt(dot(s, s) * dot(y, y))) return;
  pairs.push({ s, y, rho: 1 / curvature });
  if (pairs.length > MEMORY) pairs.shift();
}

/** The inverse Hessian's approximation times a vector. */
function twoLoop(vector: Float64Array, pairs: readonly { s: Float64Array; y: Float64Array; rho: number }[]): Float64Array {
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
