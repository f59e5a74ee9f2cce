/**
 * Who made a function, class or symbol first. Every one that travels by value carries an id of its origin, so that a process can
 * tell that it has the value already: a class stays one class however many messages bring it, and what comes home is the original.
 *
 * Both directions are weak. A process that holds a value, an instance or a closure of it keeps its entry alive; once nobody
 * does, nobody could tell a fresh copy from the lost one, and every message carries all that a fresh copy needs. So the table holds
 * what the program holds, on the side of the origin too.
 */
import { systemRandom } from '@muster/base';
import type { Code } from './nodes.js';

type Referable = object | symbol;

const KEY_DIGITS = 16; // 64 bits: processes of one cluster never share a key

let processKey: string | undefined;
let made = 0;
const ids = new WeakMap<Referable, string>();
const values = new Map<string, WeakRef<Referable>>();
const collected = new FinalizationRegistry<string>((id) => {
  if (values.get(id)?.deref() === undefined) values.delete(id); // a newer copy may have taken the place
});

/** The id of the value's origin: the one it arrived with, or a new one of this process. */
export function originOf(value: Referable): string {
  let id = ids.get(value);
  if (id === undefined) {
    processKey ??= systemRandom.hex(KEY_DIGITS);
    id = `${processKey}-${(made++).toString(36)}`;
    remember(id, value);
  }
  return id;
}

/** The value that this process has for an origin. */
export function valueOf(id: string): Referable | undefined {
  return values.get(id)?.deref();
}

/** Whether the value was made in this process. */
export function isHome(id: string): boolean {
  return processKey !== undefined && id.startsWith(`${processKey}-`);
}

/** Notes a value that arrived, in the place of an older one of the same origin. */
export function remember(id: string, value: Referable): void {
  ids.set(value, id);
  values.set(id, new WeakRef(value));
  collected.register(value, id);
}

/** How many values the table knows; for tests of its bounds. */
export function originCount(): number {
  return values.size;
}

type Members = ReadonlyMap<PropertyKey, PropertyDescriptor>;

/** What a function was revived from: enough to capture it again exactly, without the inspector. */
export interface Provenance {
  readonly code: Code;
  readonly isConstructor: boolean;
  readonly variables: readonly unknown[];
  readonly cells: readonly object[];
  readonly computedKeys: readonly PropertyKey[];
  /** Reads the static private fields, in the order of `code.privates`. */
  readonly readPrivates?: () => readonly unknown[];
  /** Of a class: the methods and accessors that its source makes. */
  readonly members: { readonly ofClass: Members; readonly ofPrototype: Members } | undefined;
}

const provenances = new WeakMap<Function, Provenance>();

export function provenanceOf(fn: Function): Provenance | undefined {
  return provenances.get(fn);
}

export function noteProvenance(fn: Function, provenance: Provenance): void {
  provenances.set(fn, provenance);
}
