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

/** exp(x²) erfc(x) for x >= 0, which neither vanishes nor overflows. */
export function scaledComplementaryError(x: number): number {
  if (x <= CENTRE_END) return Math.exp(x * x) * (1 - centralError(x));
  if (x <= BODY_END) return ratioOf(BODY, x);
  const inverseSquare = 1 / (x * x);
  return (1 / Math.sqrt(Math.PI) - inverseSquare * ratioOf(TAIL, inverseSquare)) / x;
}

/** erfc(x). */
export function complementaryError(x: number): number {
  if (x < 0) return 2 - complementaryError(-x);
  return x <= CENTRE_END ? 1 - centralError(x) : Math.exp(-x * x) * scaledComplementaryError(x);
}

/** erf(x) where it is nearly a line. */
function centralError(x: number): number {
  return x * ratioOf(CENTRE, x * x);
}

/** The coefficients of two polynomials, the highest powers first. */
interface Ratio {
  readonly above: readonly number[];
  readonly below: readonly number[];
}

function ratioOf({ above, below }: Ratio, x: number): number {
  return polynomial(above, x) / polynomial(below, x);
}

function polynomial(coefficients: readonly number[], x: number): number {
  let value = 0;
  for (let i = 0; i < coefficients.length; i++) value = value * x + coefficients[i]!;
  return value;
}

/**
 * Minimax ratios: of erf(x) / x in x² up to the first bound, of exp(x²) erfc(x) in x up to the second, of its distance from 1/(x sqrt(pi)) in 1/x² beyond.
 * Source: Cody, 1969, "Rational Chebyshev approximations for the error function".
 */
const CENTRE_END = 0.46875;
const BODY_END = 4;
const CENTRE: Ratio = {
  above: [1.85777706184603153e-1, 3.1611237438705656, 1.1386415415105016e2, 3.774852376853020e2, 3.209377589138469e3],
  below: [1, 2.360129095234412e1, 2.440246379344442e2, 1.2826165260773723e3, 2.844236833439171e3],
};
const BODY: Ratio = {
  above: [2.15311535474403846e-8, 5.641884969886701e-1, 8.883149794388376, 6.611919063714163e1, 2.986351381974001e2, 8.819522212417691e2, 1.7120476126340706e3, 2.0510783778260715e3, 1.2303393547979972e3],
  below: [1, 1.5744926110709835e1, 1.1769395089131250e2, 5.371811018620099e2, 1.6213895745666903e3, 3.2907992357334596e3, 4.362619090143247e3, 3.4393676741437217e3, 1.2303393548037494e3],
};
const TAIL: Ratio = {
  above: [1.63153871373020978e-2, 3.0532663496123234e-1, 3.6034489994980444e-1, 1.2578172611122925e-1, 1.6083785148742275e-2, 6.5874916152983780e-4],
  below: [1, 2.568520192289822, 1.8729528499234673, 5.279051029514284e-1, 6.0518341312441319e-2, 2.3352049762686918e-3],
};

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
