/** Checks of options as users write them: one that is misspelt or out of bounds is refused by its name, and never left aside. */
import { makeError } from '@muster/base';

export { requireNames } from '@muster/base';

/** Seeds are as wide as the streams that follow from them. */
const SEED_MAX = 2 ** 32 - 1;

/** @throws INVALID_ARGUMENT naming the option */
export function requireInteger(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) refuse(`${name}: ${shown(value)}`, `a whole number from ${least} to ${most}`);
}

/** @throws INVALID_ARGUMENT naming the option */
export function requireSeed(name: string, value: number): void {
  requireInteger(name, value, 0, SEED_MAX);
}

/** A whole number of at least 1, or an error that names what is to be one. */
export function requireCount(what: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 1) refuse(what, `a whole number of at least 1, not ${value}`);
  return value;
}

/** A number in bounds, or an error that names the option. */
export function requireNumber(option: string, value: number, { above = -Infinity, least = -Infinity, most = Infinity }: { above?: number; least?: number; most?: number }): number {
  if (Number.isFinite(value) && value > above && value >= least && value <= most) return value;
  const bounds = [above > -Infinity ? `above ${above}` : '', least > -Infinity ? `at least ${least}` : '', most < Infinity ? `at most ${most}` : ''].filter(Boolean);
  return refuse(`the option ${option}`, `a number ${bounds.join(' and ')}, not ${value}`);
}

/** A value in a message: a text in quotes, so that '5' is told from 5. */
export const shown = (value: unknown): string => (typeof value === 'string' ? `'${value}'` : String(value));

export function refuse(what: string, want: string): never {
  throw makeError('INVALID_ARGUMENT', { what, want });
}
