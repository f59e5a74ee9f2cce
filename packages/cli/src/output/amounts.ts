/** Amounts of resources for people. */
import { formatSizeBytes } from '@muster/base';
import type { Amounts } from '@muster/head';

/** Memory as a size, anything else as a number without the noise of its last digits. */
export function formatAmount(name: string, amount: number): string {
  return name === 'memory' ? formatSizeBytes(amount) : String(Number(amount.toFixed(4)));
}

/** `3/8` of a resource in use; empty where there is none of it. */
export function formatUse(name: string, total: Amounts, available: Amounts): string {
  if (total[name] === undefined) return '';
  return `${formatAmount(name, total[name] - (available[name] ?? 0))}/${formatAmount(name, total[name])}`;
}
