/**
 * Tells what of a function need not travel as state: what it has from birth, and the methods and accessors that come with the
 * source of a class: all that were not replaced, as decorators do, or added later, as mixins do.
 */
import { types } from 'node:util';
import type { ClassMember } from './analysis.js';

type MemberKind = ClassMember['kind'];

/** Whether a function stands under a key because the class's source puts it there. */
type IsFromSource = (fn: Function, kind: MemberKind, key: PropertyKey) => boolean;

/** The keys under which a function, and the object under its `prototype`, have nothing but what the source gives them. */
export interface KeysFromSource {
  readonly ofFunction: ReadonlySet<PropertyKey>;
  readonly ofPrototype: ReadonlySet<PropertyKey>;
}

export function keysOf(fn: Function, isStaticFromSource: IsFromSource, isFromSource: IsFromSource): KeysFromSource {
  const prototype = prototypeOf(fn);
  return { ofFunction: keysFromSource(fn, isStaticFromSource), ofPrototype: prototype ? keysFromSource(prototype, isFromSource) : new Set() };
}

function keysFromSource(owner: object, isFromSource: IsFromSource): ReadonlySet<PropertyKey> {
  const keys = new Set<PropertyKey>();
  for (const key of Reflect.ownKeys(owner)) {
    const { value, get, set } = Object.getOwnPropertyDescriptor(owner, key) ?? {};
    const parts = ([['method', value], ['get', get], ['set', set]] as readonly (readonly [MemberKind, unknown])[]).filter(([, part]) => part !== undefined);
    if (parts.length && parts.every(([kind, part]) => typeof part === 'function' && isFromSource(part, kind, key))) keys.add(key);
  }
  return keys;
}

/** For the members of a class that was revived, and whose members were noted then. */
export function isAmong(members: ReadonlyMap<PropertyKey, PropertyDescriptor> | undefined): IsFromSource {
  return (fn, kind, key) => members?.get(key)?.[kind === 'method' ? 'value' : kind] === fn;
}

/** Recognises the members of one side of a class, the static one or that of instances, by their text. */
export class MemberMatcher {
  readonly #members: readonly ClassMember[];
  /** The keys that were found for members whose names are computed. */
  readonly #computed = new Map<ClassMember, PropertyKey>();

  constructor(members: readonly ClassMember[]) {
    this.#members = members;
  }

  /** For {@link keysOf}. */
  matcher(isStatic: boolean): IsFromSource {
    return (fn, kind, key) => {
      const text = Function.prototype.toString.call(fn);
      const found = this.#members.find((member) =>
        member.isStatic === isStatic && member.kind === kind && member.text === text && (member.key ?? this.#computed.get(member) ?? key) === key);
      if (found && found.key === undefined) this.#computed.set(found, key);
      return found !== undefined;
    };
  }

  /** The names of the computed members, in the order of the source. One that is gone gets a name that nobody can use. */
  computedKeys(): readonly PropertyKey[] {
    return this.#members.filter(({ key }) => key === undefined).map((member) => this.#computed.get(member) ?? Symbol('removed'));
  }
}

/** Whether a plain function runs in sloppy mode: it has a `caller` then, of its own (V8 before 14) or by the getter that all functions inherit. */
export function isSloppy(fn: Function): boolean {
  if (Object.hasOwn(fn, 'caller')) return true;
  try {
    Reflect.get(Function.prototype, 'caller', fn);
    return true;
  } catch {
    return false;
  }
}

/** Properties that functions have from birth, beside `name` and `length`. */
export const BORN_PROPERTIES: ReadonlySet<PropertyKey> = new Set(['prototype', 'arguments', 'caller']);

/** Whether the property is the `name` or `length` that the function was born with. */
export function isBornWith(fn: Function, key: PropertyKey): boolean {
  const descriptor = key === 'name' || key === 'length' ? Object.getOwnPropertyDescriptor(fn, key) : undefined;
  const isData = descriptor !== undefined && typeof descriptor.value === (key === 'name' ? 'string' : 'number');
  return isData && !descriptor.writable && !descriptor.enumerable;
}

/** The object under `prototype`, unless it is one that a generator function was born with and nobody touched. */
export function prototypeOf(fn: Function): object | undefined {
  const prototype: unknown = Object.getOwnPropertyDescriptor(fn, 'prototype')?.value;
  const isObject = (typeof prototype === 'object' && prototype !== null) || typeof prototype === 'function';
  const isUntouched = isObject && types.isGeneratorFunction(fn) && Reflect.ownKeys(prototype).length === 0;
  return isObject && !isUntouched ? prototype : undefined;
}
