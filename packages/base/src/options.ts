/** Options as users write them: one that is misspelt is refused by its name, and never left aside. */
import { makeError } from './errors.js';

/** `of`: what takes the options, such as `tpe()`. @throws INVALID_ARGUMENT where they are no object, or have a name that is none of these */
export function requireNames(of: string, options: unknown, names: readonly string[]): void {
  if (typeof options !== 'object' || options === null) throw makeError('INVALID_ARGUMENT', { what: `what ${of} is given, ${String(options)},`, want: `an object of options: ${names.join(', ')}` });
  for (const name of Object.keys(options)) if (!names.includes(name)) throw makeError('INVALID_ARGUMENT', { what: `the option '${name}' of ${of}`, want: `one of ${names.join(', ')}` });
}
