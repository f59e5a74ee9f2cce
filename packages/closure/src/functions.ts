/**
 * Turns functions and classes into nodes: decides between reference and value, brings the free variables of the source together
 * with their values, and finds out at the end which variables the captured functions share and assign.
 * Owns nothing of the graph: it asks the writer for slots, and does not know how other values are written.
 */
import path from 'node:path';
import { types } from 'node:util';
import { analyzeFunction, CELL_VALUE, COMPUTED_KEYS, editSource, META, type FunctionAnalysis } from './analysis.js';
import { exportedValue, importedObject, lookForModules, noteImported } from './exported.js';
import { filePathOf, withoutQuery } from './files.js';
import { inspectFunction, readPrivateFields, scriptOf, type Location, type Script } from './inspector.js';
import { constructorOf } from './instances.js';
import { intrinsicName, isStandardGlobal, nameOfLazyGlobal } from './intrinsics.js';
import { originIn } from './layout.js';
import { BORN_PROPERTIES, isAmong, isBornWith, isSloppy, keysOf, MemberMatcher, prototypeOf, type KeysFromSource } from './members.js';
import type { Code, FunctionNode, ModuleReference, Node, NodeSlot, ObjectState, Primitive, Slot } from './nodes.js';
import { originOf, provenanceOf, type Provenance } from './origins.js';
import { assignedVariables, bindingOf, exportNameOf, surroundingsOf, type Binding, type Surroundings, type UseOfVariable } from './variables.js';

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

type Environment = Pick<FunctionNode, 'code' | 'variables' | 'cells'>;
type CellsByUse = ReadonlyMap<VariableUse, Slot>;

/** A free variable of one function that travels by value. */
interface VariableUse extends UseOfVariable {
  readonly name: string;
  readonly slot: Slot;
  readonly fn: Function;
  readonly place: Place;
}

/** One that no function can assign. */
type FixedVariable = Pick<VariableUse, 'name' | 'slot'>;

/** A function of which everything is known but which of its variables are shared and assigned, and whether instances of it travel. */
interface Draft {
  readonly fn: Function;
  readonly node: number;
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
    const { uses, fixed } = this.#variablesOf(fn, analysis, surroundings);
    const isClosed = uses.length + fixed.length + analysis.privates.length === 0 && [...analysis.free.keys()].every(isStandardGlobal);
    if (isClosed) closedSources.set(fn, source);
    const matcher = new MemberMatcher(analysis.members);
    const parts = this.#partsOf(fn, analysis, keysOf(fn, matcher.matcher(true), matcher.matcher(false)));
    const privates = analysis.privates.length ? readPrivateFields(fn) : undefined;
    this.#drafts.push({
      fn, node, uses,
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
      uses: [],
      parts: {
        ...this.#partsOf(fn, code, keysOf(fn, isAmong(members?.ofClass), isAmong(members?.ofPrototype))),
        computedKeys: computedKeys.map((key) => this.#graph.slot(key, COMPUTED_KEYS)),
        privates: privates.map((value, index) => this.#graph.slot(value, code.privates[index] ?? '')),
      },
      environment: () => environment,
    });
    return undefined;
  }

  /** What a function carries beside its source and its variables. */
  #partsOf(fn: Function, { isClass, isDerived }: Pick<Code, 'isClass' | 'isDerived'>, keys: KeysFromSource) {
    const parent = Object.getPrototypeOf(fn) as Function;
    const superclass = isDerived && parent !== Function.prototype ? parent : null; // else it extends null, if anything
    const isUsualParent = isDerived || FUNCTION_PROTOTYPES.has(intrinsicName(parent));
    const isBorn = (key: PropertyKey): boolean => BORN_PROPERTIES.has(key) || isBornWith(fn, key);
    return {
      origin: originOf(fn),
      ...(isBornWith(fn, 'name') && { name: fn.name }),
      ...(isDerived && { superclass: superclass && this.#graph.slot(superclass, 'extends') }),
      ...this.#prototypeOf(fn, isClass, isDerived ? (superclass?.prototype ?? null) as object | null : Object.prototype, keys.ofPrototype),
      ...this.#graph.state(fn, isUsualParent ? parent : Function.prototype, (key) => isBorn(key) || keys.ofFunction.has(key)),
    };
  }

  /** What is under `prototype`: additions to the object that the function was born with, or another object. */
  #prototypeOf(fn: Function, isClass: boolean, expectedParent: object | null, keys: ReadonlySet<PropertyKey>): Pick<FunctionNode, 'prototypeState' | 'prototypeObject'> {
    const prototype = prototypeOf(fn);
    if (!prototype) return {};
    if (!isClass && constructorOf(prototype) !== fn) return { prototypeObject: this.#graph.slot(prototype, 'prototype') };
    const prototypeState = this.#graph.state(prototype, expectedParent, (key) => key === 'constructor' || keys.has(key));
    return Object.keys(prototypeState).length ? { prototypeState } : {};
  }

  /** The variables that travel: those with a value of their own, and those that stand for a module or for what the edits bring in. */
  #variablesOf(fn: Function, analysis: FunctionAnalysis, surroundings: Surroundings): { readonly uses: readonly VariableUse[]; readonly fixed: readonly FixedVariable[] } {
    const uses: VariableUse[] = [];
    const fixed: FixedVariable[] = [];
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
            this.#graph.fail(`the class names a field after '${name}', which is neither a primitive value nor a plain object of them`, { label: name });
          }
          const { key, localScope } = binding;
          uses.push({ name, isAssigned, key, fn, place: this.#graph.place(), slot: this.#variableSlot(binding.value, name), ...(localScope && { localScope }) });
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
      const start = { line: location.line - linesBefore, column: linesBefore === 0 ? location.column - analysis.anchor : 0 };
      const origin = originIn(script);
      const placed = editSource(analysis, cells, start, origin);
      code = {
        source: placed.text,
        isClass: analysis.isClass, isDerived: analysis.isDerived, isMethod: analysis.isMethod, isStrict,
        url: script.url, ...placed.start,
        ...(origin && { file: filePathOf(script.url) }),
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
    const cells = new Map<VariableUse, Slot>();
    for (const uses of assignedVariables(this.#drafts.flatMap((draft) => draft.uses))) {
      const [first] = uses;
      if (!first) continue;
      if (first.localScope && uses.length > 1) this.#refuseSharedLocal(first, uses);
      const cell = this.#graph.add({ kind: 'object', prototype: null, fields: { [CELL_VALUE]: first.slot } });
      for (const use of uses) cells.set(use, cell);
    }
    return cells;
  }

  #refuseSharedLocal({ name, place }: VariableUse, uses: readonly VariableUse[]): never {
    const users = uses.map(({ fn }) => fn.name || 'a function without a name').join(', ');
    const detail = `the local variable '${name}' is assigned by a captured function and shared with another captured function (${users})`;
    return this.#graph.fail(`${detail}; keep shared mutable state in an object or a class`, { label: name, place });
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
  const properties = Object.values(Object.getOwnPropertyDescriptors(value));
  return Object.getPrototypeOf(value) === Object.prototype && properties.every((property) => 'value' in property && isPrimitive(property.value));
}

function isPrimitive(value: unknown): value is Primitive | symbol {
  return value === null || (typeof value !== 'object' && typeof value !== 'function');
}
