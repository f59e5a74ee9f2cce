/**
 * Finds out which module exports a value, so that it can travel as a reference. Builtin and CommonJS modules are looked up here,
 * by the values they export; an ES module's exports are seen only from the scope of its own functions (functions.ts).
 */
import { createRequire, isBuiltin } from 'node:module';
import { types } from 'node:util';
import { toUrl, isMainScript } from './files.js';
import type { ModuleReference } from './nodes.js';

export interface ExportedValue {
  readonly module: ModuleReference;
  readonly path: readonly string[];
}

const require = createRequire(import.meta.url);
const exported = new WeakMap<object, ExportedValue>();
const importedObjects = new WeakMap<object, ExportedValue>();
const seen = new Set<string>();

/** Where the value is exported, as far as {@link lookForModules} has seen. */
export function exportedValue(value: object): ExportedValue | undefined {
  return exported.get(value);
}

/**
 * Where an object was imported from. It goes by reference where code refers to it, for the code means the module's own object; as data,
 * in an argument or a result, it is copied like any other, for then its present state is meant.
 */
export function importedObject(value: object): ExportedValue | undefined {
  return importedObjects.get(value);
}

/** Notes a value that was imported under a reference, so that it can go on under the same one. */
export function noteImported(value: unknown, from: ExportedValue): void {
  if (!isReferable(value)) return;
  const isCode = typeof value === 'function' || types.isModuleNamespaceObject(value);
  const table = isCode ? exported : importedObjects;
  if (!table.has(value)) table.set(value, from);
}

/** Notes what the modules export that were loaded since the last look. Costs microseconds when there are none. */
export function lookForModules(): void {
  for (const file of Object.keys(require.cache)) {
    const module = seen.has(file) ? undefined : require.cache[file];
    if (!module?.loaded || isMainScript(toUrl(file))) continue;
    seen.add(file);
    noteExports({ kind: 'require', parent: file, specifier: file }, module.exports);
  }
  for (const entry of loadedBuiltins()) {
    const name = entry.slice(BUILTIN_ENTRY.length);
    if (!entry.startsWith(BUILTIN_ENTRY) || seen.has(entry)) continue;
    seen.add(entry);
    if (isBuiltin(name) && !/^_|^(?:punycode|sys)$/.test(name)) noteExports({ kind: 'builtin', name }, process.getBuiltinModule(name));
  }
}

const BUILTIN_ENTRY = 'NativeModule ';

/** Node's own list of what it has loaded; asking for a module that is not in it would load it. */
function loadedBuiltins(): readonly string[] {
  return (process as { readonly moduleLoadList?: readonly string[] }).moduleLoadList ?? [];
}

/** The getters that compilers write for exports. Any other getter is the module's own code, which capture does not run. */
const EXPORT_GETTER = /^(?:\(\)\s*=>\s*[\w$]+(?:\[key\])?|function\s*\(\)\s*\{\s*return \w+\[\w+\];\s*\})$/;

function noteExports(module: ModuleReference, exports: unknown): void {
  if (!isReferable(exports) || types.isProxy(exports)) return;
  if (!exported.has(exports)) exported.set(exports, { module, path: [] });
  for (const [key, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(exports))) {
    const isExportGetter = descriptor.get && EXPORT_GETTER.test(Function.prototype.toString.call(descriptor.get));
    const value: unknown = isExportGetter ? Reflect.get(exports, key) : descriptor.value;
    // data that a CommonJS module exports is data; what it does is in its functions
    const isFound = typeof value === 'function' || (module.kind === 'builtin' && isReferable(value));
    if (isFound && !exported.has(value)) exported.set(value, { module, path: [key] });
  }
}

function isReferable(value: unknown): value is object {
  return typeof value === 'function' || (typeof value === 'object' && value !== null);
}
