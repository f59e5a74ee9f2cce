/**
 * Turns functions and classes into nodes: decides between reference and value, brings the free variables of the source together
 * with their values, and finds out at the end which variables the captured functions share and assign.
 * Owns nothing of the graph: it asks the writer for slots, and does not know how other values are written.
 */
import path from 'node:path';
import { types } from 'node:util';
import { analyzeFunction, COMPUTED_KEYS, META, renderSource, type FunctionAnalysis } from './analysis.js';
import { exportedValue, importedObject, lookForModules, noteImported } from './exported.js';
import { isMainScript, withoutQuery } from './files.js';
import { inspectFunction, readPrivateFields, scriptOf, type Location, type Scope, type Script } from './inspector.js';
import { constructorOf } from './instances.js';
import { intrinsicName, nameOfLazyGlobal } from './intrinsics.js';
import { isAmong, keysFromSource, MemberMatcher } from './members.js';
import type { Code, FunctionNode, ModuleReference, Node, NodeSlot, ObjectState, Primitive, Slot } from './nodes.js';
import { originOf, provenanceOf, type Provenance } from './origins.js';
import { bindingOf, mayBeSameScope, surroundingsOf, type Binding, type Surroundings } from './variables.js';

/** A place in the graph, for errors. */
export type Place = object | undefined;

/** The graph, as the encoder of functions sees it. */
export interface GraphWriter {
  /** The slot of a value, which is written later if it is new. The label says how it is reached from the value being written. */
  slot(value: unknown, label: PropertyKey): Slot;
  /** Adds a node that stands for no single value. */
  add(node: Node): NodeSlot;
  moduleNode(module: ModuleReference, path: readonly string[]): Node;
  /** An object's properties, and its prototype where that is not the one expected. */
  state(value: object, expectedPrototype: object | null, skip?: (key: PropertyKey) => boolean): ObjectState;
  place(): Place;
  /** Refuses the value being written, what lies behind a label of it, or what was written at an earlier place. */
  fail(detail: string, at?: { readonly label?: PropertyKey; readonly place?: Place }): never;
}

/** How one function uses one variable that travels by value. */
interface VariableUse {
  readonly name: string;
  readonly isAssigned: boolean;
  readonly slot: Slot;
  readonly key: string;
  readonly localScope?: Scope['variables'];
}

type Environment = Pick<FunctionNode, 'code' | 'variables' | 'cells'>;
type CellsByUse = ReadonlyMap<VariableUse, Slot>;

/** A function of which everything is known but which of its variables are shared and assigned, and whether instances of it travel. */
interface Draft {
  readonly fn: Function;
  readonly node: number;
  readonly place: Place;
  readonly isConstructor: boolean;
  readonly parts: Omit<FunctionNode, keyof Environment | 'kind' | 'isConstructor'>;
  readonly uses: readonly VariableUse[];
  readonly environment: (cells: CellsByUse) => Environment;
}

/** The source of a function, as it stands in its script. */
interface PlacedSource {
  readonly analysis: FunctionAnalysis;
  readonly script: Script;
  readonly location: Location;
  readonly isStrict: boolean;
}

const FUNCTION_PROTOTYPES: ReadonlySet<string | undefined> = new Set([
  'Function.prototype', '%GeneratorFunction%.prototype', '%AsyncFunction%.prototype', '%AsyncGeneratorFunction%.prototype',
]);

/** Functions whose source mentions no variable around them: nothing about them can change but their properties. */
const closedSources = new WeakMap<Function, PlacedSource>();

/** Encodes the functions of one graph. */
export class FunctionEncoder {
  readonly #graph: GraphWriter;
  readonly #drafts: Draft[] = [];
  readonly #constructors = new Set<Function>();
  readonly #codes = new Map<string, Code>();
  readonly #extras = new Map<string, NodeSlot>();
  #hasLooked = false;

  constructor(graph: GraphWriter) {
    this.#graph = graph;
  }

  /** Notes that instances of the function travel, so that it has to stay one function wherever it arrives. */
  noteConstructor(fn: Function): void {
    this.#constructors.add(fn);
  }

  /** The node of a function. Undefined when it will be among those of {@link finish}. */
  encode(fn: Function, node: number): Node | undefined {
    if (!this.#hasLooked) lookForModules();
    this.#hasLooked = true;
    const exported = exportedValue(fn);
    if (exported) return this.#graph.moduleNode(exported.module, exported.path);
    const provenance = provenanceOf(fn);
    if (provenance) return this.#draftRevived(fn, provenance, node);
    const closed = closedSources.get(fn);
    if (closed) return this.#draft(fn, closed, { script: closed.script, scopes: [], topLevel: 0 }, node);

    const { location, scopes, bound } = inspectFunction(fn);
    if (bound) return this.#boundNode(fn, bound);
    if (!location) return this.#graph.fail(`a native function (${fn.name || 'without a name'}) cannot be captured`);
    const script = scriptOf(location.scriptId);
    if (!script.description) return this.#internalNode(fn, script);
    const surroundings = surroundingsOf(script, scopes);
    const exportName = exportNameOf(fn, location, surroundings);
    if (exportName !== undefined) {
      const url = withoutQuery(script.url);
      return this.#graph.moduleNode({ kind: 'import', parent: url, specifier: url }, [exportName]);
    }
    return this.#draft(fn, this.#placeSource(fn, script, location), surroundings, node);
  }

  /** The nodes of the functions that go by value. */
  *finish(): Generator<readonly [node: number, FunctionNode]> {
    const cells = this.#shareVariables();
    for (const { fn, node, parts, isConstructor, environment } of this.#drafts) {
      yield [node, { kind: 'function', isConstructor: isConstructor || this.#constructors.has(fn), ...parts, ...environment(cells) }];
    }
  }

  // --- by reference

  #boundNode(fn: Function, { target, receiver, arguments: parameters }: { target: Function; receiver: unknown; arguments: readonly unknown[] }): Node {
    return {
      kind: 'bound',
      target: this.#graph.slot(target, 'bound function'),
      receiver: this.#graph.slot(receiver, 'bound this'),
      arguments: parameters.map((parameter, index) => this.#graph.slot(parameter, `bound argument ${index}`)),
      ...this.#graph.state(fn, Function.prototype, (key) => key === 'name' || key === 'length'),
    };
  }

  #internalNode(fn: Function, script: Script): Node {
    const name = nameOfLazyGlobal(fn, [fn.name]);
    if (name !== undefined) return { kind: 'intrinsic', name };
    const directory = directoryOfRequire(fn);
    if (directory !== undefined) return { kind: 'require', directory };
    return this.#graph.fail(`a function of Node's internals (${fn.name || 'without a name'}, ${script.url}) cannot be captured`);
  }

  // --- by value

  #placeSource(fn: Function, script: Script, location: Location): PlacedSource {
    const source = Function.prototype.toString.call(fn);
    let analysis: FunctionAnalysis;
    try {
      analysis = analyzeFunction(source);
    } catch (error) {
      const usesPrivates = /Private field/.test(String(error));
      return this.#graph.fail(usesPrivates
        ? 'a method that uses private members of its class cannot be captured alone; capture the class'
        : `the source of this function cannot be read (${String(error)}): ${source.slice(0, 80)}`);
    }
    if (analysis.refusal) this.#graph.fail(analysis.refusal);
    const isPlainFunction = Object.hasOwn(fn, 'prototype') && !analysis.isClass && !types.isGeneratorFunction(fn);
    const isStrict = isPlainFunction ? !isSloppy(fn) : analysis.isClass || (script.description?.isStrict === true && !analysis.isSloppy);
    return { analysis, script, location, isStrict };
  }

  #draft(fn: Function, source: PlacedSource, surroundings: Surroundings, node: number): undefined {
    const { analysis } = source;
    const { uses, fixed } = this.#variablesOf(analysis, surroundings);
    if (uses.length + fixed.length === 0 && analysis.privates.length === 0) closedSources.set(fn, source);
    const matcher = new MemberMatcher(analysis.members);
    const parts = this.#partsOf(fn, analysis, {
      staticKeys: keysFromSource(fn, matcher.matcher(true)),
      prototypeKeys: prototypeKeys(fn, (prototype) => keysFromSource(prototype, matcher.matcher(false))),
    });
    const privates = analysis.privates.length ? readPrivateFields(fn) : undefined;
    this.#drafts.push({
      fn, node, uses,
      place: this.#graph.place(),
      isConstructor: analysis.isClass || analysis.usesThis || parts.prototypeState !== undefined || parts.prototypeObject !== undefined,
      parts: {
        ...parts,
        computedKeys: matcher.computedKeys().map((key) => this.#graph.slot(key, COMPUTED_KEYS)),
        privates: analysis.privates.map((name) => this.#graph.slot(privates?.get(name), name)),
      },
      environment: (cells) => {
        const own = uses.filter((use) => !cells.has(use));
        const shared = uses.filter((use) => cells.has(use));
        return {
          code: this.#codeOf(source, [...fixed, ...own].map(({ name }) => name), shared.map(({ name }) => name)),
          variables: [...fixed, ...own].map(({ slot }) => slot),
          cells: shared.map((use) => cells.get(use)),
        };
      },
    });
    return undefined;
  }

  #draftRevived(fn: Function, provenance: Provenance, node: number): undefined {
    const { code, isConstructor, variables, cells, computedKeys, readPrivates, members } = provenance;
    const privates = readPrivates?.() ?? [];
    const environment = {
      code,
      variables: variables.map((value, index) => this.#variableSlot(value, code.variables[index] ?? '')),
      cells: cells.map((cell, index) => this.#graph.slot(cell, code.cells[index] ?? '')),
    };
    this.#drafts.push({
      fn, node, isConstructor,
      place: this.#graph.place(),
      uses: [],
      parts: {
        ...this.#partsOf(fn, code, {
          staticKeys: keysFromSource(fn, isAmong(members?.ofClass)),
          prototypeKeys: prototypeKeys(fn, (prototype) => keysFromSource(prototype, isAmong(members?.ofPrototype))),
        }),
        computedKeys: computedKeys.map((key) => this.#graph.slot(key, COMPUTED_KEYS)),
        privates: privates.map((value, index) => this.#graph.slot(value, code.privates[index] ?? '')),
      },
      environment: () => environment,
    });
    return undefined;
  }

  /** What a function carries beside its source and its variables. */
  #partsOf(fn: Function, { isClass, isDerived }: { readonly isClass: boolean; readonly isDerived: boolean }, keys: { staticKeys: ReadonlySet<PropertyKey>; prototypeKeys: ReadonlySet<PropertyKey> }) {
    const superclass: unknown = Object.getPrototypeOf(fn);
    const expected = isDerived || FUNCTION_PROTOTYPES.has(intrinsicName(superclass as object)) ? superclass : Function.prototype;
    const parent = isDerived && superclass !== Function.prototype ? (superclass as Function).prototype as object | null : isDerived ? null : Object.prototype;
    const hasOwnName = isBornWith(fn, 'name');
    const prototype = isClass ? fn.prototype as object : prototypeOf(fn);
    const isOwn = prototype !== undefined && (isClass || constructorOf(prototype) === fn);
    const prototypeState = isOwn ? this.#graph.state(prototype, parent, (key) => key === 'constructor' || keys.prototypeKeys.has(key)) : {};
    return {
      origin: originOf(fn),
      ...(hasOwnName && { name: fn.name }),
      ...(isDerived && { superclass: superclass === Function.prototype ? null : this.#graph.slot(superclass, 'extends') }),
      ...(Object.keys(prototypeState).length > 0 && { prototypeState }),
      ...(prototype && !isOwn && { prototypeObject: this.#graph.slot(prototype, 'prototype') }),
      ...this.#graph.state(fn, expected as object | null, (key) => (key === 'name' && hasOwnName) || (key === 'length' && isBornWith(fn, 'length')) || BORN.has(key) || keys.staticKeys.has(key)),
    };
  }

  #variablesOf(analysis: FunctionAnalysis, surroundings: Surroundings): { readonly uses: readonly VariableUse[]; readonly fixed: readonly { name: string; slot: Slot }[] } {
    const uses: VariableUse[] = [];
    const fixed: { name: string; slot: Slot }[] = [];
    if (analysis.usesMeta) fixed.push({ name: META, slot: this.#graph.add({ kind: 'import-meta', url: surroundings.script.url }) });
    for (const [name, { isAssigned }] of analysis.free) {
      const binding = bindingOf(name, surroundings);
      switch (binding.kind) {
        case 'global':
          break;
        case 'uninitialised':
          return this.#graph.fail(`the variable '${name}' is not initialised yet`, { label: name });
        case 'import':
          if (binding.namespace !== undefined) noteImported(binding.namespace, { module: binding.module, path: [] });
          fixed.push({ name, slot: this.#moduleMember(binding.module, binding.path) });
          break;
        case 'interop':
          fixed.push({ name, slot: this.#interop(binding, `${surroundings.script.id}:${name}`) });
          break;
        case 'value': {
          if (analysis.neededEarly.has(name) && !isEarly(binding.value)) {
            this.#graph.fail(`the class computes the name of a field from '${name}', which is neither a primitive value nor a plain object of them`, { label: name });
          }
          const { key, localScope } = binding;
          uses.push({ name, isAssigned, key, slot: this.#variableSlot(binding.value, name), ...(localScope && { localScope }) });
        }
      }
    }
    return { uses, fixed };
  }

  /** Code that mentions an imported object means the module's own. */
  #variableSlot(value: unknown, name: string): Slot {
    const imported = typeof value === 'object' && value !== null ? importedObject(value) : undefined;
    return imported ? this.#moduleMember(imported.module, imported.path) : this.#graph.slot(value, name);
  }

  #moduleMember(module: ModuleReference, path: readonly string[]): Slot {
    return this.#once(JSON.stringify([module, path]), () => this.#graph.moduleNode(module, path));
  }

  #interop({ module, helper, helperName, rest }: Binding & { kind: 'interop' }, key: string): Slot {
    return this.#once(key, () => ({ kind: 'interop', helper: this.#graph.slot(helper, helperName), module: this.#moduleMember(module, []), rest }));
  }

  /** A node for what several functions mean, but no value of this process stands for. */
  #once(key: string, make: () => Node): Slot {
    let slot = this.#extras.get(key);
    if (!slot) this.#extras.set(key, (slot = this.#graph.add(make())));
    return slot;
  }

  #codeOf({ analysis, script, location, isStrict }: PlacedSource, variables: readonly string[], cells: readonly string[]): Code {
    const key = JSON.stringify([script.id, location.line, location.column, variables, cells]);
    let code = this.#codes.get(key);
    if (!code) {
      const linesBefore = analysis.source.slice(0, analysis.anchor).split('\n').length - 1;
      code = {
        source: renderSource(analysis, cells),
        isClass: analysis.isClass, isDerived: analysis.isDerived, isMethod: analysis.isMethod, isStrict,
        url: script.url,
        line: location.line - linesBefore,
        column: linesBefore === 0 ? location.column - analysis.anchor : 0,
        variables, cells,
        privates: analysis.privates,
      };
      this.#codes.set(key, code);
    }
    return code;
  }

  // --- shared variables

  /** Gives every variable that a captured function assigns a cell, which all of its users share. */
  #shareVariables(): CellsByUse {
    const usesByKey = new Map<string, { readonly use: VariableUse; readonly draft: Draft }[]>();
    for (const draft of this.#drafts) {
      for (const use of draft.uses) usesByKey.set(use.key, [...(usesByKey.get(use.key) ?? []), { use, draft }]);
    }
    const cells = new Map<VariableUse, Slot>();
    for (const users of usesByKey.values()) {
      for (const { use, draft } of users) {
        if (!use.isAssigned || cells.has(use)) continue;
        const sharing = users.filter((other) => isSameVariable(use, other.use));
        if (use.localScope && sharing.length > 1) this.#refuseSharedLocal(use.name, draft, sharing.map((other) => other.draft.fn));
        const cell = this.#graph.add({ kind: 'object', prototype: null, fields: { [use.name]: use.slot } });
        for (const other of sharing) cells.set(other.use, cell);
      }
    }
    return cells;
  }

  #refuseSharedLocal(name: string, { place }: Draft, users: readonly Function[]): never {
    const names = users.map((fn) => fn.name || 'a function without a name').join(', ');
    return this.#graph.fail(
      `the local variable '${name}' is assigned by a captured function and shared with another captured function (${names}); keep shared mutable state in an object or a class`,
      { label: name, place });
  }
}

function isSameVariable(a: VariableUse, b: VariableUse): boolean {
  return a === b || !a.localScope || !b.localScope || mayBeSameScope(a.localScope, b.localScope);
}

/** The name under which an ES module other than the main script exports a function of its top level. */
function exportNameOf(fn: Function, location: Location, { script, scopes, topLevel }: Surroundings): string | undefined {
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

/** The folder from which a `require` function resolves. */
function directoryOfRequire(fn: Function): string | undefined {
  const { resolve } = fn as Partial<NodeJS.Require>;
  const [directory] = typeof resolve === 'function' && typeof resolve.paths === 'function' ? resolve.paths('./') ?? [] : [];
  return directory === undefined ? undefined : path.resolve(directory);
}

/** Whether the value is complete as soon as it is revived. Others are filled later, as cycles demand. */
function isEarly(value: unknown): boolean {
  if (isPrimitive(value) || intrinsicName(value) !== undefined) return true;
  return Object.getPrototypeOf(value) === Object.prototype && Object.values(Object.getOwnPropertyDescriptors(value)).every((property) => 'value' in property && isPrimitive(property.value));
}

function isPrimitive(value: unknown): value is Primitive | symbol {
  return value === null || (typeof value !== 'object' && typeof value !== 'function');
}

/** Whether a plain function runs in sloppy mode: it has a `caller` then, of its own (V8 before 14) or by the getter that all functions inherit. */
function isSloppy(fn: Function): boolean {
  if (Object.hasOwn(fn, 'caller')) return true;
  try {
    Reflect.get(Function.prototype, 'caller', fn);
    return true;
  } catch {
    return false;
  }
}

/** Properties that functions have from birth, beside `name` and `length`. */
const BORN: ReadonlySet<PropertyKey> = new Set(['prototype', 'arguments', 'caller']);

function isBornWith(fn: Function, key: 'name' | 'length'): boolean {
  const descriptor = Object.getOwnPropertyDescriptor(fn, key);
  const isData = descriptor !== undefined && typeof descriptor.value === (key === 'name' ? 'string' : 'number');
  return isData && !descriptor.writable && !descriptor.enumerable;
}

/** The object under `prototype` of a function that is no class, unless it is as a generator function is born with. */
function prototypeOf(fn: Function): object | undefined {
  const prototype: unknown = Object.getOwnPropertyDescriptor(fn, 'prototype')?.value;
  const isObject = (typeof prototype === 'object' && prototype !== null) || typeof prototype === 'function';
  const isUntouched = isObject && types.isGeneratorFunction(fn) && Reflect.ownKeys(prototype).length === 0;
  return isObject && !isUntouched ? prototype : undefined;
}

function prototypeKeys(fn: Function, keysOf: (prototype: object) => ReadonlySet<PropertyKey>): ReadonlySet<PropertyKey> {
  const prototype = prototypeOf(fn);
  return prototype ? keysOf(prototype) : new Set();
}
