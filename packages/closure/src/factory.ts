/**
 * Compiles the source of a captured function, once for each distinct one, at the place of the original: stack traces show the file, line
 * and column that the user wrote.
 */
import { findSourceMap } from 'node:module';
import { pathToFileURL } from 'node:url';
import vm from 'node:vm';
import { cellName, COMPUTED_KEYS, PRIVATES, SUPERCLASS } from './analysis.js';
import { mainLoader } from './loader.js';
import type { Code } from './nodes.js';

export interface FactoryInput {
  /** Values of `code.variables`; those that are not there yet are undefined, and given to `bind` later. */
  readonly variables: readonly unknown[];
  readonly cells: readonly object[];
  readonly superclass: unknown;
  readonly computedKeys: readonly PropertyKey[];
}

export interface Manufactured {
  readonly fn: Function;
  readonly bind: (variables: readonly unknown[]) => void;
  readonly privates?: { readonly get: () => readonly unknown[]; readonly set: (values: readonly unknown[]) => void };
}

type Factory = (
  variables: readonly unknown[], cells: readonly object[], superclass: unknown, computedKeys: readonly PropertyKey[],
) => [fn: Function, bind: Manufactured['bind'], privates: Manufactured['privates']];

/** Compiled sources are kept up to this number; a worker that gets ever new ones must not fill its memory. */
const FACTORY_LIMIT = 4096;
const factories = new Map<string, Factory>();

/** Makes a function from its source, with variables of its own. */
export function manufacture(code: Code, { variables, cells, superclass, computedKeys }: FactoryInput): Manufactured {
  const [fn, bind, privates] = factoryOf(code)(variables, cells, superclass, computedKeys);
  return { fn, bind, ...(privates && { privates }) };
}

function factoryOf(code: Code): Factory {
  const key = [code.url, code.file, code.line, code.column, code.isStrict, code.isMethod, code.variables.join(), code.cells.join(), code.source].join('\0');
  let factory = factories.get(key);
  if (factory) {
    factories.delete(key); // the map's order is that of the last use
  } else {
    if (factories.size >= FACTORY_LIMIT) factories.delete(factories.keys().next().value as string);
    factory = compile(code);
  }
  factories.set(key, factory);
  return factory;
}

/** Variables are declared with `var`, for sloppy code may use the names that `let` refuses. */
function compile({ source, isMethod, isStrict, url, file, line, column, variables, cells }: Code): Factory {
  const assignments = variables.map((name, index) => `${name} = __muster_variables[${index}]`);
  const cellAssignments = cells.map((name, index) => `${cellName(name)} = __muster_cells[${index}]`);
  const declarations = `var ${[...assignments, ...cellAssignments, PRIVATES].join(', ')};`;
  const [open, close] = isMethod ? [`(${METHOD_OF})({`, '})'] : ['(', ')'];
  const before = `(function (__muster_variables, __muster_cells, ${SUPERCLASS}, ${COMPUTED_KEYS}) { ${isStrict ? '"use strict"; ' : ''}${declarations} return [${open}`;
  const after = `${close}, (__muster_variables) => { ${assignments.join('; ')} }, ${PRIVATES}]; })`;
  const script = new vm.Script(before + source + after, {
    filename: file === undefined ? url : nameOfWritten(file),
    lineOffset: line,
    columnOffset: column - before.length,
    importModuleDynamically: mainLoader(),
  });
  return script.runInThisContext() as Factory;
}

/**
 * How stack traces name a file whose places are those that its author wrote. Where this process has loaded the file too, Node holds a map for its
 * name, and would apply it: the same URL with a host is another name.
 */
function nameOfWritten(file: string): string {
  return findSourceMap(file) ? pathToFileURL(file).href.replace('file://', 'file://localhost') : file;
}

/** The function of an object literal's only method or accessor. */
const METHOD_OF = `(object) => {
  const { value, get, set } = Object.getOwnPropertyDescriptor(object, Reflect.ownKeys(object)[0]);
  return value ?? get ?? set;
}`.replaceAll('\n', ''); // on one line, or it would move the lines of the source
