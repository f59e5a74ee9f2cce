/**
 * Loads the modules that captured values refer to, through Node's own loaders, as the referring file would have. Owns what was
 * loaded and the registration of tsx; knows nothing of graphs.
 */
import { createRequire } from 'node:module';
import vm from 'node:vm';
import { makeError } from '@muster/base';
import { noteImported } from './exported.js';
import { filePathOf } from './files.js';
import { decodeModules, type ModuleReference } from './nodes.js';

/**
 * What was loaded, by reference. Node never unloads a module, so these entries keep nothing alive that would not live on; there are as
 * many as the program has import statements.
 */
const loaded = new Map<string, { readonly exports: unknown }>();
const loading = new Map<string, Promise<void>>();

/**
 * Loads the modules that the bytes refer to, so that {@link revive} finds them. Undefined when all are there already: a caller on a
 * hot path need not await.
 *
 * @throws RuntimeEnvError (as a rejection) for a module that this process cannot load
 * @throws MusterError PROTOCOL for bytes that {@link capture} did not make
 */
export function preload(bytes: Uint8Array): Promise<void> | undefined {
  const missing = decodeModules(bytes).filter((module) => module.kind !== 'builtin' && !loaded.has(keyOf(module)));
  return missing.length ? Promise.all(missing.map(loadOnce)).then(() => undefined) : undefined;
}

/** What a loaded module exports under a path. @throws RuntimeEnvError */
export function moduleMember(module: ModuleReference, path: readonly string[]): unknown {
  let value = exportsOf(module);
  try {
    for (const key of path) {
      if (!(key in Object(value))) throw new Error(`it exports no '${path.join('.')}'`);
      value = Reflect.get(Object(value), key);
    }
  } catch (error) {
    throw cannotLoad(module, error);
  }
  noteImported(value, { module, path });
  return value;
}

function exportsOf(module: ModuleReference): unknown {
  if (module.kind === 'builtin') {
    const exports: unknown = process.getBuiltinModule(module.name);
    if (exports === undefined) throw cannotLoad(module, new Error(`Node ${process.version} has no such module`));
    return exports;
  }
  const found = loaded.get(keyOf(module));
  if (!found) throw makeError('INTERNAL', { what: `${describe(module)} is loaded by preload() before revive()` });
  return found.exports;
}

type FileReference = Exclude<ModuleReference, { readonly kind: 'builtin' }>;

function keyOf(module: FileReference): string {
  return JSON.stringify([module.kind, module.parent, module.specifier, module.kind === 'import' ? module.attributes : undefined]);
}

function loadOnce(module: ModuleReference): Promise<void> | undefined {
  if (module.kind === 'builtin') return undefined;
  const key = keyOf(module);
  let promise = loading.get(key);
  if (!promise) {
    promise = load(module).then((exports) => { loaded.set(key, { exports }); }).finally(() => loading.delete(key));
    loading.set(key, promise);
  }
  return promise;
}

async function load(module: FileReference): Promise<unknown> {
  try {
    if (isTypeScript(module) && !Reflect.get(process.features, 'typescript') && !hasTypeScriptLoader()) await registerTsx();
    return await loadNow(module);
  } catch (error) {
    if (!isTypeScript(module) || isTsxRegistered || !isResolutionError(error)) throw cannotLoad(module, error);
  }
  // Node strips types by itself, but does not find `./task.ts` under the name `./task.js`
  try {
    await registerTsx();
    return await loadNow(module);
  } catch (error) {
    throw cannotLoad(module, error);
  }
}

function loadNow(module: FileReference): unknown {
  if (module.kind === 'require') return createRequire(filePathOf(module.parent))(module.specifier);
  return importerOf(module.parent)(module.specifier, module.attributes ? { with: module.attributes } : undefined);
}

type Importer = (specifier: string, options?: ImportCallOptions) => Promise<unknown>;

const importers = new Map<string, Importer>();

/** `import()` as the file `parent` would call it: a script under the file's name does it in its place. */
function importerOf(parent: string): Importer {
  let importer = importers.get(parent);
  if (!importer) {
    const script = new vm.Script('(specifier, options) => import(specifier, options)', { filename: filePathOf(parent), importModuleDynamically: mainLoader() });
    importer = script.runInThisContext() as Importer;
    importers.set(parent, importer);
  }
  return importer;
}

let isMainLoaderReady = false;

/**
 * The option of a script whose `import()` goes through the process's own loader. Node warns once that this constant is experimental, at
 * the first import that uses it; that import is made here, and this one warning held back.
 */
export function mainLoader(): typeof vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER {
  const loader = vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  if (!isMainLoaderReady) {
    isMainLoaderReady = true;
    const { emitWarning } = process;
    const silenced = (...parameters: Parameters<typeof emitWarning>): void => {
      if (!String(parameters[0]).startsWith('vm.USE_MAIN_CONTEXT_DEFAULT_LOADER')) emitWarning.apply(process, parameters);
    };
    process.emitWarning = silenced as typeof emitWarning;
    try {
      void new vm.Script("import('node:module')", { importModuleDynamically: loader }).runInThisContext();
    } finally {
      process.emitWarning = emitWarning;
    }
  }
  return loader;
}

// --- TypeScript

const TYPESCRIPT_FILE = /\.[cm]?tsx?(?:[?#].*)?$/;

/** A TypeScript file names its neighbours with `.js`, so what it imports may be TypeScript too. */
function isTypeScript({ parent, specifier }: FileReference): boolean {
  return TYPESCRIPT_FILE.test(specifier) || TYPESCRIPT_FILE.test(parent);
}

/** Whether the process was started with a loader that knows TypeScript. A failed import stays failed, so there is no trying. */
function hasTypeScriptLoader(): boolean {
  const options = [...process.execArgv, process.env['NODE_OPTIONS'] ?? ''].join(' ');
  return /(?:^|\s)(?:--import|--loader|--experimental-loader|--require|-r)[\s=]\S*(?:tsx|ts-node|swc|esbuild|jiti)/.test(options);
}

function isResolutionError(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown };
  return code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND' || code === 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX';
}

let isTsxRegistered = false;
let registering: Promise<void> | undefined;

function registerTsx(): Promise<void> {
  return (registering ??= (async () => {
    const [{ register: registerImport }, { register: registerRequire }] = await Promise.all([import('tsx/esm/api'), import('tsx/cjs/api')]);
    registerRequire();
    registerImport();
    isTsxRegistered = true;
  })());
}

// --- errors

function describe(module: ModuleReference): string {
  return module.kind === 'builtin' ? `the builtin module '${module.name}'` : `the module '${module.specifier}', imported by ${module.parent}`;
}

function cannotLoad(module: ModuleReference, error: unknown): Error {
  return makeError('RUNTIME_ENV', { what: describe(module), cause: error instanceof Error ? error.message : String(error) }, { cause: error });
}
