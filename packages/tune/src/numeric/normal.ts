/** The normal distribution, to double precision or nearly. */
import type { Random } from '@muster/base';

const SQRT_2 = Math.SQRT2;
const LOG_SQRT_2PI = 0.9189385332046727;

/** log of the standard normal density. */
export function normalLogDensity(z: number): number {
  return -0.5 * z * z - LOG_SQRT_2PI;
}

/** The standard normal density. */
export function normalDensity(z: number): number {
  return Math.exp(normalLogDensity(z));
}

/** The probability that a standard normal variable is at most z. Its relative error is below 1e-15 in the body, 1e-13 in the tails. */
export function normalCdf(z: number): number {
  return 0.5 * complementaryError(-z / SQRT_2);
}

/** The probability of a standard normal variable between two bounds, without loss of digits in either tail. */
export function normalMass(from: number, to: number): number {
  return from > 0 ? normalCdf(-from) - normalCdf(-to) : normalCdf(to) - normalCdf(from);
}

/** exp(x^2) erfc(x) for x >= 0, which neither vanishes nor overflows. */
export function scaledComplementaryError(x: number): number {
  return x < SERIES_BELOW ? Math.exp(x * x) * (1 - errorSeries(x)) : continuedFraction(x);
}

/** erfc(x). */
export function complementaryError(x: number): number {
  if (x < 0) return 2 - complementaryError(-x);
  return x < SERIES_BELOW ? 1 - errorSeries(x) : Math.exp(-x * x) * continuedFraction(x);
}

/** Where the series would lose digits, and the continued fraction is short. */
const SERIES_BELOW = 2;
const FRACTION_TERMS = 40;

/** erf(x) = 2/sqrt(pi) exp(-x^2) sum of 2^n x^(2n+1) / (2n+1)!!, all of whose terms have one sign. */
function errorSeries(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; term > sum * 1e-17; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** Laplace's continued fraction of exp(x^2) erfc(x), from its end. */
function continuedFraction(x: number): number {
  let tail = x;
  for (let n = FRACTION_TERMS; n >= 1; n--) tail = x + n / 2 / tail;
  return 1 / (Math.sqrt(Math.PI) * tail);
}

/**
 * The z below which a standard normal variable lies with this probability.
 * Source: Acklam's rational approximation, and one step of Halley's method.
 */
export function normalQuantile(probability: number): number {
  if (probability <= 0) return -Infinity;
  if (probability >= 1) return Infinity;
  if (probability > 0.5) return -normalQuantile(1 - probability);
  const z = probability < 0.02425 ? lowerTail(Math.sqrt(-2 * Math.log(probability))) : centre(probability - 0.5);
  const error = (normalCdf(z) - probability) / normalDensity(z);
  return z - error / (1 + (z * error) / 2);
}

function lowerTail(q: number): number {
  return (((((-7.784894002430293e-3 * q - 3.223964580411365e-1) * q - 2.400758277161838) * q - 2.549732539343734) * q + 4.374664141464968) * q + 2.938163982698783)
    / ((((7.784695709041462e-3 * q + 3.224671290700398e-1) * q + 2.445134137142996) * q + 3.754408661907416) * q + 1);
}

function centre(q: number): number {
  const r = q * q;
  return ((((((-3.969683028665376e1 * r + 2.209460984245205e2) * r - 2.759285104469687e2) * r + 1.38357751867269e2) * r - 3.066479806614716e1) * r + 2.506628277459239) * q)
    / (((((-5.447609879822406e1 * r + 1.615858368580409e2) * r - 1.556989798598866e2) * r + 6.680131188771972e1) * r - 1.328068155288572e1) * r + 1);
}

/** A standard normal variable from two uniform ones (Box and Muller). */
export function normalDeviate(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
}
