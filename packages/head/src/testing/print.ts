/** Effects as short lines that a person can check: fields that are empty are left out. */
import { describeDeath, errorFromWire, RESOURCE_SCALE } from '@muster/base';
import { deathFromMessage, targetOf, type Death, type Endpoint, type Failure, type Resources } from '@muster/protocol';

/** `type key=value ...`, without the empty fields. Ids made by a counter lose their zeros: `lease-000000000002` is `lease-2`. */
export function printMessage(message: { readonly type: string }): string {
  const { type, ...fields } = message;
  return shortenIds([type, ...printFields(fields)].join(' '));
}

/** `lease-000000000002` becomes `lease-2`. */
export const shortenIds = (text: string): string => text.replace(/-0+(\d+)\b/g, '-$1');

function printFields(fields: object): string[] {
  return Object.entries(fields).flatMap(([key, value]) => {
    const text = printValue(value);
    return text === '' ? [] : [`${key}=${text}`];
  });
}

function printValue(value: unknown): string {
  if (value === null || value === undefined || value === '' || value === 0 || value === false) return '';
  if (typeof value === 'string') return /\s/.test(value) ? `'${value}'` : value;
  if (value instanceof Uint8Array) return value.length === 0 ? '' : `bytes(${new TextDecoder().decode(value)})`;
  if (Array.isArray(value)) return value.length === 0 ? '' : `[${value.map((item) => printValue(item) || String(item)).join(' ')}]`;
  if (typeof value !== 'object') return String(value);
  if ('amounts' in value) return Object.entries((value as Resources).amounts).map(([name, amount]) => `${name}:${amount / RESOURCE_SCALE}`).join(',');
  if ('stderrTail' in value) return `'${describeDeath(deathFromMessage(value as Death))}'`;
  if ('details' in value) return `${(value as Failure).code} '${errorFromWire(value as Failure).message}'`;
  if ('unixPath' in value) return targetOf(value as Endpoint, (value as Endpoint).nodeId);
  return `{${printFields(value).join(' ')}}`;
}
