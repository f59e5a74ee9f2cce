/**
 * Finds the free variables of a function in the scopes around it, and says what each stands for: an import, a value, or a global that
 * every process has. Owns the knowledge of how files' top levels look in V8's scopes; writes nothing.
 */
import { isBuiltin } from 'node:module';
import { isMainScript, leadsToMainScript, withoutQuery } from './files.js';
import type { Location, Scope, Script } from './inspector.js';
import { isStandardGlobal } from './intrinsics.js';
import type { ModuleReference, Primitive } from './nodes.js';
import type { ImportBinding, RequireBinding } from './scripts.js';

/** A function's scopes, innermost first, without the global one. */
export interface Surroundings {
  readonly script: Script;
  readonly scopes: readonly Scope[];
  /** The scopes from here on hold the file's own variables. */
  readonly topLevel: number;
}

/** What a free variable stands for. */
export type Binding =
  /** A name that means the same in every process, or nothing yet. */
  | { readonly kind: 'global' }
  | { readonly kind: 'import'; readonly module: ModuleReference; readonly path: readonly string[]; readonly namespace?: unknown }
  | { readonly kind: 'interop'; readonly module: ModuleReference; readonly helper: unknown; readonly helperName: string; readonly rest: readonly Primitive[] }
  /** See {@link UseOfVariable} for the key and the scope. */
  | { readonly kind: 'value'; readonly value: unknown; readonly key: string; readonly localScope?: Scope['variables'] }
  | { readonly kind: 'uninitialised' };

/** What Node and compilers put around a file are parameters; a scope of nothing else is not yet the file's. */
const WRAPPER_PARAMETER = /^(?:exports|require|module|__filename|__dirname|arguments|__vite_ssr_\w+)$/;

export function surroundingsOf(script: Script, allScopes: readonly Scope[]): Surroundings {
  const scopes = allScopes.filter(({ description }) => description !== 'Global');
  let topLevel = scopes.findLastIndex(({ description }) => description !== 'Script');
  const outermost = scopes[topLevel];
  const isWrapper = script.description?.isWrapped && outermost && Object.keys(outermost.variables).every((name) => WRAPPER_PARAMETER.test(name));
  if (isWrapper && topLevel > 0) topLevel--;
  return { script, scopes, topLevel: Math.max(topLevel, 0) };
}

/** What the variable stands for, seen from inside of the surroundings. */
export function bindingOf(name: string, { script, scopes, topLevel }: Surroundings): Binding {
  const index = scopes.findIndex(({ variables }) => Object.hasOwn(variables, name));
  const scope = scopes[index];
  if (!scope) return globalBinding(name);
  const isTopLevel = index >= topLevel;
  const imported = isTopLevel ? importBinding(name, script, scopes.slice(topLevel)) : undefined;
  if (imported) return imported;

  let value: unknown;
  try {
    value = scope.variables[name];
  } catch {
    return { kind: 'uninitialised' };
  }
  // Node before 24 gives undefined for a variable that is not initialised
  if (value === undefined && isTopLevel && script.description?.neverUndefined.has(name)) return { kind: 'uninitialised' };
  const key = isTopLevel ? `${script.id}:${name}` : `${script.id}:${scopes.length - index}:${scope.description}:${name}`;
  return { kind: 'value', value, key, ...(!isTopLevel && { localScope: scope.variables }) };
}

function globalBinding(name: string): Binding {
  if (isStandardGlobal(name) || !(name in globalThis)) return { kind: 'global' };
  return { kind: 'value', value: Reflect.get(globalThis, name), key: `global:${name}` };
}

function importBinding(name: string, script: Script, topLevel: readonly Scope[]): Binding | undefined {
  const { description, url } = script;
  const imported = description?.imports.get(name);
  if (imported) {
    const module = moduleOf('import', url, imported);
    const namespace = imported.path.length === 0 ? { namespace: valueIn(topLevel, name) } : {};
    return module && { kind: 'import', module, path: builtinPath(module, imported.path), ...namespace };
  }
  const required = description?.isModule ? undefined : description?.requires.get(name);
  const module = required && moduleOf('require', url, required);
  if (!module) return undefined;
  if (!required.helper) return { kind: 'import', module, path: required.path };
  const helper = valueIn(topLevel, required.helper.name);
  return typeof helper === 'function' ? { kind: 'interop', module, helper, helperName: required.helper.name, rest: required.helper.rest } : undefined;
}

/** The reference to an imported module. Undefined for the main script, which no worker may run. */
function moduleOf(kind: 'import' | 'require', url: string, { specifier, attributes }: ImportBinding | RequireBinding): ModuleReference | undefined {
  if (isBuiltin(specifier)) return { kind: 'builtin', name: specifier };
  if (leadsToMainScript(url, specifier)) return undefined;
  return { kind, parent: withoutQuery(url), specifier, ...(attributes && { attributes }) };
}

/** A builtin's default export is the object that it is for `require`. */
function builtinPath(module: ModuleReference, path: readonly string[]): readonly string[] {
  return module.kind === 'builtin' && path[0] === 'default' ? path.slice(1) : path;
}

function valueIn(scopes: readonly Scope[], name: string): unknown {
  const scope = scopes.find(({ variables }) => Object.hasOwn(variables, name));
  try {
    return scope?.variables[name];
  } catch {
    return undefined; // not initialised: the module is still loading
  }
}

/** The name under which an ES module other than the main script exports a function of its top level. */
export function exportNameOf(fn: Function, location: Location, { script, scopes, topLevel }: Surroundings): string | undefined {
  const { description, url } = script;
  const isLocal = scopes.slice(0, topLevel).some(({ variables }) => Object.keys(variables).some((name) => !isOwnName(name, variables, fn)));
  if (!description?.isModule || !url.startsWith('file:') || isMainScript(url) || isLocal) return undefined;
  const at = description.defaultExport;
  if (at && at.line === location.line && at.column === location.column) return 'default';
  const module = scopes[topLevel]?.variables ?? {};
  for (const [local, exported] of description.exports) {
    if (Object.hasOwn(module, local) && isValueOf(module, local, fn)) return exported;
  }
  return undefined;
}

/** A class has a scope of its own, for its name and its private names. */
function isOwnName(name: string, variables: Scope['variables'], fn: Function): boolean {
  return /^[#.]/.test(name) || isValueOf(variables, name, fn);
}

function isValueOf(variables: Scope['variables'], name: string, fn: Function): boolean {
  try {
    return variables[name] === fn;
  } catch {
    return false; // not initialised yet
  }
}

/** How one function uses one variable. Uses of one variable have equal keys; local ones also where they mean two instances of it. */
export interface UseOfVariable {
  readonly key: string;
  readonly isAssigned: boolean;
  readonly localScope?: Scope['variables'];
}

/** The variables that any of their users assigns, each as the list of its uses. */
export function* assignedVariables<Use extends UseOfVariable>(uses: readonly Use[]): Generator<readonly Use[]> {
  const usesByKey = new Map<string, Use[]>();
  for (const use of uses) {
    const others = usesByKey.get(use.key);
    if (others) others.push(use);
    else usesByKey.set(use.key, [use]);
  }
  for (const candidates of usesByKey.values()) {
    const found = new Set<Use>();
    for (const use of candidates) {
      if (!use.isAssigned || found.has(use)) continue;
      const same = candidates.filter((other) => isSameVariable(use, other));
      for (const other of same) found.add(other);
      yield same;
    }
  }
}

/**
 * V8 does not tell which scopes are one and the same. Two snapshots of which any variable differs are of two scopes; others are taken
 * for one, and lead to a refusal rather than to a variable that is shared by mistake.
 */
function isSameVariable(a: UseOfVariable, b: UseOfVariable): boolean {
  if (a === b || !a.localScope || !b.localScope) return true;
  const { localScope: left } = a;
  const { localScope: right } = b;
  const names = Object.keys(left);
  return names.length === Object.keys(right).length && names.every((name) => Object.hasOwn(right, name) && isSame(left, right, name));
}

function isSame(a: Scope['variables'], b: Scope['variables'], name: string): boolean {
  try {
    return Object.is(a[name], b[name]);
  } catch {
    return true; // not initialised in one of them
  }
}
