/**
 * What the source of one function says: its free variables, what it does that cannot travel, and the edits that make it travel.
 * Works on text alone and knows no values: functions.ts brings the two together.
 *
 * The edits; layout.ts puts what stays back to its line and column, so that stack traces keep pointing at the original file:
 *   - a variable that captured functions assign becomes a property of a cell, an object that they share;
 *   - `import.meta` becomes a variable;
 *   - of a class: what it extends becomes a variable; static fields and blocks go, for their effects travel as state;
 *     static private fields stay without their initialisers, with a block that can read and write them.
 */
import type { AnyNode, ArrowFunctionExpression, ClassExpression, Expression, FunctionExpression, Identifier, MethodDefinition, PropertyDefinition } from 'acorn';
import { layOut, type Origin, type Piece, type PlacedText, type Position } from './layout.js';
import { anchorOf } from './scripts.js';
import { childrenOf, freeReferences, parse, tokensOf } from './syntax.js';

/**
 * Names that the edits bring in. They are short, for they lengthen lines, and have a middle dot, which the language allows and no program uses.
 * Revived code can be captured again, where they are variables like any other.
 */
export const META = 'import·meta';
export const SUPERCLASS = 'super·';
export const COMPUTED_KEYS = 'keys·';
export const PRIVATES = 'privates·';
export const cellName = (variable: string): string => `${variable}·`;
/** The property of a cell that holds the variable's value. */
export const CELL_VALUE = '_';

interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

interface Reference {
  readonly name: string;
  readonly start: number;
  readonly end: number;
  /** `{ name }`, which has to become `{ name: cell.name }`. */
  readonly isShorthand: boolean;
  /** `name()`, which must not become a method call. */
  readonly isCalled: boolean;
}

/** A method as its class declares it. The text is what `toString` gives for the function. */
export interface ClassMember {
  readonly isStatic: boolean;
  readonly kind: 'method' | 'get' | 'set';
  readonly text: string;
  /** Absent when the class computes it. */
  readonly key?: string;
}

export interface FunctionAnalysis {
  readonly source: string;
  readonly isClass: boolean;
  /** The class extends something, were it null. */
  readonly isDerived: boolean;
  readonly isArrow: boolean;
  readonly isMethod: boolean;
  /** It uses syntax that strict mode forbids. */
  readonly isSloppy: boolean;
  /** A `function` that uses its own `this`, as constructors did before classes. */
  readonly usesThis: boolean;
  /** Why it cannot travel, if so. */
  readonly refusal?: string;
  /** Free variables, and whether the function assigns them. */
  readonly free: ReadonlyMap<string, { readonly isAssigned: boolean }>;
  /** Free variables that the class needs while it is being defined, to compute the names of fields. */
  readonly neededEarly: ReadonlySet<string>;
  readonly usesMeta: boolean;
  /** From the start of the source to the place that V8 calls its location. */
  readonly anchor: number;
  readonly members: readonly ClassMember[];
  /** Static private fields, as `#name`. */
  readonly privates: readonly string[];
  /** Private fields and methods of instances. Only the constructor can make them. */
  readonly instancePrivates: readonly string[];
  readonly references: readonly Reference[];
  readonly edits: readonly Edit[];
  /** Read when they are first wanted. */
  readonly tokens: () => readonly Piece[];
}

type Root = FunctionExpression | ArrowFunctionExpression | ClassExpression;

/** Texts whose analysis is kept. A program that makes functions from ever new text must not fill the memory. */
const CACHE_LIMIT = 4096;
const cache = new Map<string, FunctionAnalysis>();

/** Analyses what `Function.prototype.toString` gives. @throws SyntaxError when it is no function's whole source */
export function analyzeFunction(source: string): FunctionAnalysis {
  let analysis = cache.get(source);
  if (!analysis) {
    if (cache.size >= CACHE_LIMIT) cache.clear();
    analysis = analyze(source);
    cache.set(source, analysis);
  }
  return analysis;
}

/** The source with its edits, where the given free variables are in cells, laid out as the file that stands at `start` in its script was written. */
export function editSource(analysis: FunctionAnalysis, cells: readonly string[], start: Position, origin: Origin | undefined): PlacedText {
  const edits = [...analysis.edits];
  const inCells = new Set(cells);
  for (const { name, start, end, isShorthand, isCalled } of analysis.references) {
    if (!inCells.has(name)) continue;
    const cell = `${cellName(name)}.${CELL_VALUE}`;
    edits.push({ start, end, text: isShorthand ? `${name}: ${cell}` : isCalled ? `(0, ${cell})` : cell });
  }
  if (edits.length === 0 && !origin) return { text: analysis.source, start };
  const kept = analysis.tokens().filter((token) => !edits.some((edit) => edit.start < token.end && token.start < edit.end));
  const pieces = [...edits.map((edit) => ({ ...edit, isTemplate: false })), ...kept].sort((a, b) => a.start - b.start || a.end - b.end);
  return layOut(analysis.source, pieces, start, origin);
}

function analyze(source: string): FunctionAnalysis {
  const { root, wrapped, offset, computedKey, isMethod, references, isSloppy } = parseFunction(source);
  const at = (node: { readonly start: number; readonly end: number }): { start: number; end: number } => ({ start: node.start - offset, end: node.end - offset });

  const use = readUse(root);
  const classParts = root.type === 'ClassExpression' ? readClass(root, source, offset) : { edits: [], members: [], privates: [], instancePrivates: [], fieldKeys: [] };
  const edits = [...classParts.edits];
  if (computedKey) edits.push({ ...at(computedKey), text: '"method"' });
  edits.push(...use.metas.map((node) => ({ ...at(node), text: META })).filter((edit) => !isInside(edit, edits)));

  const kept = references.map(({ identifier, isWrite }) => ({ ...at(identifier), name: identifier.name, isWrite })).filter((reference) => !isInside(reference, edits));
  const free = new Map<string, { isAssigned: boolean }>();
  for (const { name, isWrite } of kept) free.set(name, { isAssigned: isWrite || free.get(name)?.isAssigned === true });
  const distinct = new Map(kept.map((reference) => [reference.start, reference])); // `x += 1` is there twice
  const isNeededEarly = (reference: { start: number; end: number }): boolean => isInside(reference, classParts.fieldKeys.map(at));

  let tokens: readonly Piece[] | undefined;
  return {
    source, isMethod, isSloppy, free, edits,
    tokens: () => (tokens ??= tokensOf(source, isMethod, isSloppy)),
    isClass: root.type === 'ClassExpression',
    isDerived: root.type === 'ClassExpression' && root.superClass !== null && root.superClass !== undefined,
    isArrow: root.type === 'ArrowFunctionExpression',
    usesThis: root.type === 'FunctionExpression' && !isMethod && use.hasThis,
    ...refusalOf(root, use, free),
    neededEarly: new Set(kept.filter(isNeededEarly).map(({ name }) => name)),
    usesMeta: use.metas.length > 0,
    anchor: isMethod ? root.start - offset : anchorOf(wrapped, root) - offset,
    members: classParts.members,
    privates: classParts.privates,
    instancePrivates: classParts.instancePrivates,
    references: [...distinct.values()].map(({ name, start, end }) => ({
      name, start, end, isShorthand: use.shorthands.has(start + offset), isCalled: use.calls.has(start + offset),
    })),
  };
}

interface ParsedFunction {
  readonly root: Root;
  /** The text that was parsed, in which the source starts at `offset`. */
  readonly wrapped: string;
  readonly offset: number;
  readonly isMethod: boolean;
  readonly isSloppy: boolean;
  /** The key of a method whose name was computed. */
  readonly computedKey?: Expression;
  readonly references: readonly { readonly identifier: Identifier; readonly isWrite: boolean }[];
}

/** An expression goes into parentheses; a method parses only inside of an object literal. */
function parseFunction(source: string): ParsedFunction {
  let furthest: { readonly error: unknown; readonly position: number } | undefined;
  for (const [prefix, suffix] of [['(', ')'], ['({', '})']] as const) {
    try {
      const wrapped = prefix + source + suffix;
      const { program, sourceType } = parse(wrapped, ['module', 'script']);
      const statement = program.body[0];
      const expression = statement?.type === 'ExpressionStatement' ? statement.expression : undefined;
      const property = expression?.type === 'ObjectExpression' ? expression.properties[0] : undefined;
      const method = property?.type === 'Property' ? property : undefined;
      const root = method ? method.value : expression;
      if (!isRoot(root)) throw new SyntaxError('it is not the source of a function');
      return {
        root, wrapped, offset: prefix.length, isMethod: method !== undefined, isSloppy: sourceType === 'script',
        references: freeReferences(program, sourceType).map((reference) => ({ identifier: reference.identifier as unknown as Identifier, isWrite: reference.isWrite() })),
        ...(method?.computed && { computedKey: method.key }),
      };
    } catch (error) {
      const position = ((error as { readonly pos?: number }).pos ?? 0) - prefix.length;
      if (!furthest || position > furthest.position) furthest = { error, position };
    }
  }
  throw furthest?.error;
}

function isRoot(node: AnyNode | undefined): node is Root {
  return node?.type === 'FunctionExpression' || node?.type === 'ArrowFunctionExpression' || node?.type === 'ClassExpression';
}

/** What of the surroundings a function's code uses. */
interface Use {
  hasThis: boolean;
  hasSuper: boolean;
  hasNewTarget: boolean;
  hasEval: boolean;
  readonly metas: AnyNode[];
  /** Offsets of the keys of shorthand properties, and of the names of called functions. */
  readonly shorthands: Set<number>;
  readonly calls: Set<number>;
}

/** Whose `this` and `super` a node stands in: of the function analysed, or of one nested in it. */
interface Place {
  readonly ownThis: boolean;
  readonly ownSuper: boolean;
}

function readUse(root: Root): Use {
  const use: Use = { hasThis: false, hasSuper: false, hasNewTarget: false, hasEval: false, metas: [], shorthands: new Set(), calls: new Set() };
  const isClass = root.type === 'ClassExpression';
  const visit = (node: AnyNode, place: Place): void => {
    noteUse(node, place, use);
    const inside = placeInside(node, place);
    for (const child of childrenOf(node)) visit(child, inside);
  };
  for (const child of childrenOf(root)) visit(child, { ownThis: !isClass, ownSuper: !isClass });
  return use;
}

function noteUse(node: AnyNode, place: Place, use: Use): void {
  switch (node.type) {
    case 'ThisExpression':
      use.hasThis ||= place.ownThis;
      break;
    case 'Super':
      use.hasSuper ||= place.ownSuper;
      break;
    case 'MetaProperty':
      if (node.meta.name === 'import') use.metas.push(node);
      else use.hasNewTarget ||= place.ownThis;
      break;
    case 'Property':
      if (node.shorthand) use.shorthands.add(node.key.start);
      break;
    case 'CallExpression':
      if (node.callee.type === 'Identifier') use.calls.add(node.callee.start);
      use.hasEval ||= node.callee.type === 'Identifier' && node.callee.name === 'eval';
      break;
    case 'TaggedTemplateExpression':
      if (node.tag.type === 'Identifier') use.calls.add(node.tag.start);
      break;
    default:
  }
}

function placeInside(node: AnyNode, place: Place): Place {
  switch (node.type) {
    case 'FunctionExpression':
    case 'FunctionDeclaration':
      return { ...place, ownThis: false };
    case 'ObjectExpression':
      return { ...place, ownSuper: false };
    case 'ClassBody':
      return { ownThis: false, ownSuper: false };
    default:
      return place;
  }
}

function refusalOf(root: Root, use: Use, free: ReadonlyMap<string, unknown>): { readonly refusal?: string } {
  const isArrow = root.type === 'ArrowFunctionExpression';
  if (isArrow && use.hasThis) return { refusal: "an arrow function that uses its enclosing 'this' cannot be captured; write `const self = this` and use that" };
  if (isArrow && use.hasNewTarget) return { refusal: "an arrow function that uses its enclosing 'new.target' cannot be captured" };
  if (free.has('arguments')) return { refusal: "an arrow function that uses its enclosing 'arguments' cannot be captured; use a rest parameter" };
  if (use.hasSuper) return { refusal: "a method that uses 'super' cannot be captured alone; capture its class" };
  if (use.hasEval) return { refusal: 'a function that calls eval() cannot be captured: nobody can say which variables it uses' };
  return {};
}

interface ClassParts {
  readonly edits: Edit[];
  readonly members: ClassMember[];
  readonly privates: string[];
  readonly instancePrivates: string[];
  /** Computed names of instance fields. They stay in the source, for nothing else keeps what they give. */
  readonly fieldKeys: AnyNode[];
}

function readClass(root: ClassExpression, source: string, offset: number): ClassParts {
  const parts: ClassParts = { edits: [], members: [], privates: [], instancePrivates: [], fieldKeys: [] };
  const edit = (start: number, end: number, text: string): unknown => parts.edits.push({ start: start - offset, end: end - offset, text });
  if (root.superClass) edit(root.superClass.start, root.superClass.end, SUPERCLASS);
  let computedCount = 0;
  for (const element of root.body.body) {
    if (element.type === 'StaticBlock') {
      edit(element.start, element.end, '');
      continue;
    }
    if (!element.static && element.key.type === 'PrivateIdentifier') parts.instancePrivates.push(`#${element.key.name}`);
    if (element.type === 'PropertyDefinition') {
      readField(element, parts, edit);
    } else if (element.kind !== 'constructor' && element.key.type !== 'PrivateIdentifier') {
      if (element.computed) edit(element.key.start, element.key.end, `${COMPUTED_KEYS}[${computedCount++}]`);
      parts.members.push(readMember(element, source, offset));
    }
  }
  if (parts.privates.length) edit(root.body.end - 1, root.body.end - 1, privatesBlock(parts.privates));
  return parts;
}

function readField(field: PropertyDefinition, parts: ClassParts, edit: (start: number, end: number, text: string) => unknown): void {
  if (!field.static) {
    if (field.computed) parts.fieldKeys.push(field.key);
  } else if (field.key.type === 'PrivateIdentifier') {
    if (field.value) edit(field.key.end, field.value.end, '');
    parts.privates.push(`#${field.key.name}`);
  } else {
    edit(field.start, field.end, '');
  }
}

function readMember(method: MethodDefinition, source: string, offset: number): ClassMember {
  const text = source.slice(method.start - offset, method.end - offset);
  const { key } = method;
  return {
    isStatic: method.static,
    kind: method.kind === 'get' || method.kind === 'set' ? method.kind : 'method',
    text: method.static ? text.replace(/^static(?:\s|\/\*[^]*?\*\/)*/, '') : text,
    ...(!method.computed && { key: key.type === 'Literal' ? String(key.value) : (key as Identifier).name }),
  };
}

/** Reaches static private fields from outside of the class. The variable it assigns is declared around the revived class. */
function privatesBlock(names: readonly string[]): string {
  const fields = names.map((name) => `this.${name}`).join(', ');
  return `;static { ${PRIVATES} = { get: () => [${fields}], set: (values) => { [${fields}] = values; } }; }`;
}

function isInside(range: { readonly start: number; readonly end: number }, outer: readonly { readonly start: number; readonly end: number }[]): boolean {
  return outer.some(({ start, end }) => start <= range.start && range.end <= end && start < end);
}
