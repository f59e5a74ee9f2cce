/**
 * Tells which methods and accessors of a class come with its source and need not travel as state: all that were not replaced,
 * as decorators do, or added later, as mixins do.
 */
import type { ClassMember } from './analysis.js';

type MemberKind = ClassMember['kind'];

/** Whether a function stands under a key because the class's source puts it there. */
type IsFromSource = (fn: Function, kind: MemberKind, key: PropertyKey) => boolean;

/** The keys under which an object has nothing but what the source of its class gives it. */
export function keysFromSource(owner: object, isFromSource: IsFromSource): ReadonlySet<PropertyKey> {
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

  /** For {@link keysFromSource}. */
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
