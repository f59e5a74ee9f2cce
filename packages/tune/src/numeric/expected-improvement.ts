/**
 * The logarithm of the expected improvement, exact also where the improvement itself would round to nothing.
 * Source: Ament et al., 2023, "Unexpected improvements to expected improvement".
 */
import { normalDensity, normalCdf, normalLogDensity, scaledComplementaryError } from './normal.js';

/** Beyond this many deviations the tail is its leading term. */
const FAR = -1e4;

/** log E[max(0, best - Y)] of a normal Y, to be made large; and its slopes by Y's mean and by its deviation. */
export interface LogImprovement {
  readonly value: number;
  readonly byMean: number;
  readonly byDeviation: number;
}

export function logExpectedImprovement(best: number, mean: number, deviation: number): LogImprovement {
  const z = (best - mean) / deviation;
  const logH = logTail(z);
  const value = Math.log(deviation) + logH;
  return { value, byMean: -Math.exp(logCdf(z) - logH) / deviation, byDeviation: Math.exp(normalLogDensity(z) - logH) / deviation };
}

/** log(density(z) + z cdf(z)). */
function logTail(z: number): number {
  if (z > -1) return Math.log(normalDensity(z) + z * normalCdf(z));
  if (z < FAR) return normalLogDensity(z) - 2 * Math.log(-z);
  return normalLogDensity(z) + Math.log1p(z * Math.sqrt(Math.PI / 2) * scaledComplementaryError(-z / Math.SQRT2));
}

function logCdf(z: number): number {
  return z > -1 ? Math.log(normalCdf(z)) : -0.5 * z * z + Math.log(0.5 * scaledComplementaryError(-z / Math.SQRT2));
}
