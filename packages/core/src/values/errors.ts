/** How errors of users' code and of the system travel in error records. */
import { errorFromWire, errorToWire, type ErrorCode, type MusterError } from '@muster/base';
import { encodeComposite } from './composite.js';
import type { EncodedValue } from '../machine/reference.js';
import type { Serializer } from './serializer.js';

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

/** Encodes whatever was thrown. What cannot travel (an error that holds a socket, say) is cut down to its name, message and stack. */
export function encodeThrown(serializer: Serializer, thrown: unknown): EncodedValue {
  try {
    return encodeComposite(serializer.serialize(thrown));
  } catch {
    const { name, message, stack } = thrown instanceof Error ? thrown : new Error(String(thrown));
    const plain = new Error(message);
    plain.name = name;
    plain.stack = stack;
    return encodeComposite(serializer.serialize(plain));
  }
}

/** Appends the caller's stack to a remote error's, so that both sides of the call can be read. */
export function appendCallerStack(error: unknown, callerStack: string | undefined): void {
  if (!(error instanceof Error) || !callerStack) return;
  const frames = callerStack.split('\n').slice(1).join('\n');
  if (!frames.trim()) return;
  Object.defineProperty(error, 'stack', { value: `${error.stack}\n  --- called from ---\n${frames}`, writable: true, configurable: true });
}
