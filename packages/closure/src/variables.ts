/**
 * Finds the free variables of a function in the scopes around it, and says what each stands for: an import, a value, or a global that
 * every process has. Owns the knowledge of how files' top levels look in V8's scopes; writes nothing.
 */
import { isBuiltin } from 'node:module';
import { leadsToMainScript, withoutQuery } from './files.js';
import type { Scope, Script } from './inspector.js';
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
  /** Uses of one variable have equal keys; those of a local one also where they mean two instances of it, with scopes that tell them apart. */
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

/**
 * Whether two snapshots of a local scope can be of one and the same scope. V8 does not tell which scopes are one; those of which any
 * variable differs are two.
 */
export function mayBeSameScope(a: Scope['variables'], b: Scope['variables']): boolean {
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && isSame(a, b, name));
}

function isSame(a: Scope['variables'], b: Scope['variables'], name: string): boolean {
  try {
    return Object.is(a[name], b[name]);
  } catch {
    return true; // not initialised in one of them
  }
}
