/** How errors of users' code and of the system travel in error records. */
import { inspect } from 'node:util';
import { errorFromWire, errorToWire, makeError, MusterError, type ErrorCode } from '@muster/base';
import { encodeComposite, sizeOf } from './composite.js';
import type { EncodedValue } from '../machine/reference.js';
import type { Serialized, Serializer } from './serializer.js';
import { CALLED_FROM, readableStack } from './stacks.js';

/** The special form of a MusterError: its code and details make it whole again, of the right class. */
export const MUSTER_ERROR_FORM = 'muster-error';

export function musterErrorParts(error: MusterError): readonly unknown[] {
  const { code, details } = errorToWire(error);
  return [code, details, error.stack, error.cause];
}

export function musterErrorFromParts([code, details, stack, cause]: readonly unknown[]): MusterError {
  const error = errorFromWire({ code: code as ErrorCode, details: details as Record<string, string> });
  if (typeof stack === 'string') Object.defineProperty(error, 'stack', { value: stack, writable: true, configurable: true });
  if (cause !== undefined) Object.defineProperty(error, 'cause', { value: cause, writable: true, configurable: true });
  return error;
}

/** An error rides in a record, and a frame takes no more than 64 MiB. */
const ERROR_MAX_BYTES = 16 * 2 ** 20;
const MESSAGE_MAX_CHARS = 10_000;

/** Encodes whatever was thrown. Of an error that cannot travel (it holds a socket, say) goes what can, of a value its text. */
export function encodeThrown(serializer: Serializer, thrown: unknown): EncodedValue {
  const attempt = (value: unknown): Serialized | null => {
    try {
      const serialized = serializer.serialize(value);
      return sizeOf(serialized) <= ERROR_MAX_BYTES && serialized.contained.length === 0 ? serialized : null; // nobody counts the references of an error
    } catch {
      return null;
    }
  };
  const whole = attempt(thrown);
  if (whole) return encodeComposite(whole);
  const error = thrown instanceof Error ? thrown : new Error(inspect(thrown, { depth: 1 }));
  const portable = attempt(portablePart(error, (value) => attempt(value) !== null));
  return encodeComposite(portable ?? serializer.serialize(namedError(Error.prototype, error)));
}

/** An error of the nearest class that can travel, with the properties and causes that can. */
function portablePart(error: Error, canTravel: (value: unknown) => boolean, seen = new Set<Error>()): Error {
  seen.add(error);
  let prototype = Object.getPrototypeOf(error) as Error;
  while (prototype !== Error.prototype && !canTravel(namedError(prototype, error))) prototype = Object.getPrototypeOf(prototype) as Error;
  const portable = namedError(prototype, error);
  for (const [key, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(error))) {
    if (Object.hasOwn(portable, key)) continue;
    const { value } = descriptor as PropertyDescriptor;
    if (canTravel(value)) Object.defineProperty(portable, key, { ...descriptor, value });
    else if (value instanceof Error && !seen.has(value)) Object.defineProperty(portable, key, { ...descriptor, value: portablePart(value, canTravel, seen) });
  }
  return portable;
}

/** A bare error of a class, with another one's name, message and stack. */
function namedError(prototype: object, { name, message, stack }: Error): Error {
  const bare = Object.setPrototypeOf(new Error(message.slice(0, MESSAGE_MAX_CHARS)), prototype) as Error;
  if (bare.name !== name) Object.defineProperty(bare, 'name', { value: name, writable: true, configurable: true });
  bare.stack = stack?.slice(0, MESSAGE_MAX_CHARS);
  return bare;
}

/** A failure that this process found out by itself, as an error of one caller's own. Where it was found out says nothing to users. */
export function freshFailure(found: unknown): unknown {
  if (!(found instanceof MusterError)) return found;
  const error = makeError(found.code, found.details, found.cause === undefined ? undefined : { cause: found.cause });
  error.stack = `${error.name}: ${error.message}`;
  return error;
}

/** Makes a remote error's stack readable, with those of its causes, and appends the caller's: so both sides of the call can be read. */
export function completeStack(error: unknown, callerStack: string | undefined): void {
  const frames = callerStack?.split('\n').slice(1).join('\n') ?? '';
  const below = frames.trim() ? `\n${CALLED_FROM}\n${frames}` : '';
  const seen = new Set<Error>(); // causes may go round in circles
  for (let each = error; each instanceof Error && !seen.has(each); each = each.cause) {
    const stack = readableStack(`${each.stack}${seen.size === 0 ? below : ''}`);
    Reflect.defineProperty(each, 'stack', { value: stack, writable: true, configurable: true }); // a frozen error keeps its own
    seen.add(each);
  }
}
