/**
 * What the top level of a script says about its variables: which are imported or required and from where, under which names they
 * are exported, and which can be recognised as not initialised yet. Reads the forms that Node runs: ES modules, CommonJS, and
 * what TypeScript, esbuild (tsx) and Vite (vitest) compile to.
 */
import type { AnyNode, CallExpression, Class, Expression, FunctionExpression, ImportDeclaration, MethodDefinition, Pattern, Statement, VariableDeclaration } from 'acorn';
import type { Primitive } from './nodes.js';
import { parse, positionOf } from './syntax.js';

/** A variable that stands for what a module exports under `path`; for all of its exports when the path is empty. */
export interface ImportBinding {
  readonly specifier: string;
  readonly path: readonly string[];
  readonly attributes?: Readonly<Record<string, string>>;
}

/** `const x = require('y')`, or `const x = helper(require('y'), ...rest)` as compilers write it. */
export interface RequireBinding extends ImportBinding {
  readonly helper?: { readonly name: string; readonly rest: readonly Primitive[] };
}

export interface ScriptDescription {
  readonly isModule: boolean;
  readonly isStrict: boolean;
  /** The file's code stands inside of one function, whose variables are the file's. */
  readonly isWrapped: boolean;
  readonly imports: ReadonlyMap<string, ImportBinding>;
  readonly requires: ReadonlyMap<string, RequireBinding>;
  /** Local name to exported name. */
  readonly exports: ReadonlyMap<string, string>;
  /** Where the parameters (of a function) or the start (of an arrow function or class) of a nameless default export stand. */
  readonly defaultExport?: { readonly line: number; readonly column: number };
  /** Variables that are undefined only until they are initialised. */
  readonly neverUndefined: ReadonlySet<string>;
}

/** Describes a script. One that cannot be parsed declares nothing. */
export function describeScript(source: string, isModule: boolean): ScriptDescription {
  const parsed = tryParse(source, isModule);
  const { body, isWrapped } = unwrap((parsed?.program.body ?? []) as readonly Statement[]);
  const description = {
    isModule,
    isWrapped,
    isStrict: isModule || parsed?.sourceType === 'module' || isViteWrapper(parsed?.program.body.at(-1)) || hasUseStrict(body) || hasUseStrict(onlyFunction(body)),
    imports: new Map<string, ImportBinding>(),
    requires: new Map<string, RequireBinding>(),
    exports: new Map<string, string>(),
    neverUndefined: new Set<string>(),
  };
  let defaultExport: ScriptDescription['defaultExport'];
  for (const node of body as readonly AnyNode[]) {
    const declaration = node.type === 'ExportNamedDeclaration' ? node.declaration : node;
    if (declaration?.type === 'VariableDeclaration') readVariables(declaration, description);
    if (declaration?.type === 'ClassDeclaration' && declaration.id) description.neverUndefined.add(declaration.id.name);
    if (node.type === 'ImportDeclaration') readImport(node, description.imports);
    if (node.type === 'ExportNamedDeclaration' && !node.source) {
      for (const name of declaredNames(node.declaration)) description.exports.set(name, name);
      for (const { local, exported } of node.specifiers) description.exports.set(nameOf(local), nameOf(exported));
    }
    if (node.type === 'ExportDefaultDeclaration') {
      const value = node.declaration;
      if (value.type === 'Identifier') description.exports.set(value.name, 'default');
      else if ('id' in value && value.id) description.exports.set(value.id.name, 'default');
      else defaultExport = positionOf(source, anchorOf(source, value));
    }
  }
  return { ...description, ...(defaultExport && { defaultExport }) };
}

function tryParse(source: string, isModule: boolean): ReturnType<typeof parse> | undefined {
  try {
    return parse(source, isModule ? ['module'] : ['script', 'module']);
  } catch {
    return undefined;
  }
}

/** The body of the one function that a script consists of, as revived code does. */
function onlyFunction(body: readonly AnyNode[]): readonly AnyNode[] {
  const [first] = body;
  const isFunction = body.length === 1 && first?.type === 'ExpressionStatement' && first.expression.type === 'FunctionExpression';
  return isFunction ? (first.expression as FunctionExpression).body.body : [];
}

function hasUseStrict(body: readonly AnyNode[]): boolean {
  const first = body[0];
  return first?.type === 'ExpressionStatement' && first.directive === 'use strict';
}

/** Takes off the function in which tsx (`(() => {...})()`) and Vite (`async (__vite_ssr_exports__, ...) => {{...}}`) put a file. */
function unwrap(program: readonly Statement[]): { readonly body: readonly Statement[]; readonly isWrapped: boolean } {
  const last = program.at(-1);
  if (!last || !program.every((node) => node.type === 'ExpressionStatement')) return { body: program, isWrapped: false };
  if (isViteWrapper(last)) {
    const { body } = last.expression.body;
    return { body: body[0]?.type === 'BlockStatement' ? body[0].body : body, isWrapped: true };
  }
  const calls = program.flatMap((node) => (node.type === 'ExpressionStatement' && node.expression.type === 'CallExpression' ? [node.expression] : []));
  const callee = calls.length === 1 && calls[0]?.arguments.length === 0 ? calls[0].callee : undefined;
  const isFunction = callee?.type === 'ArrowFunctionExpression' || callee?.type === 'FunctionExpression';
  return isFunction && callee.body.type === 'BlockStatement' ? { body: callee.body.body, isWrapped: true } : { body: program, isWrapped: false };
}

type ViteWrapper = Statement & { readonly expression: { readonly body: { readonly body: readonly Statement[] } } };

function isViteWrapper(node: AnyNode | undefined): node is ViteWrapper {
  if (node?.type !== 'ExpressionStatement' || node.expression.type !== 'ArrowFunctionExpression') return false;
  const [first] = node.expression.params;
  return first?.type === 'Identifier' && first.name === '__vite_ssr_exports__' && node.expression.body.type === 'BlockStatement';
}

function readImport(node: ImportDeclaration, imports: Map<string, ImportBinding>): void {
  const attributes = node.attributes.length ? Object.fromEntries(node.attributes.map(({ key, value }) => [nameOf(key), String(value.value)])) : undefined;
  for (const specifier of node.specifiers) {
    const path = specifier.type === 'ImportNamespaceSpecifier' ? [] : specifier.type === 'ImportDefaultSpecifier' ? ['default'] : [nameOf(specifier.imported)];
    imports.set(specifier.local.name, { specifier: String(node.source.value), path, ...(attributes && { attributes }) });
  }
}

interface ReadVariables {
  readonly imports: Map<string, ImportBinding>;
  readonly requires: Map<string, RequireBinding>;
  readonly neverUndefined: Set<string>;
}

function readVariables(declaration: VariableDeclaration, into: ReadVariables): void {
  for (const { id, init } of declaration.declarations) {
    if (!init) continue;
    if (id.type === 'Identifier' && declaration.kind !== 'var' && VALUES_NEVER_UNDEFINED.has(init.type)) into.neverUndefined.add(id.name);
    const dynamic = dynamicImportOf(init);
    if (dynamic) for (const [name, path] of destructured(id)) into.imports.set(name, { specifier: dynamic, path });
    const required = requireOf(init);
    if (required) for (const [name, path] of destructured(id)) into.requires.set(name, { ...required, path: [...required.path, ...path] });
  }
}

const VALUES_NEVER_UNDEFINED: ReadonlySet<string> = new Set([
  'Literal', 'TemplateLiteral', 'ArrowFunctionExpression', 'FunctionExpression', 'ClassExpression', 'ObjectExpression', 'ArrayExpression', 'NewExpression',
]);

/** `await import('x')`, also as Vite writes it. */
function dynamicImportOf(init: Expression): string | undefined {
  if (init.type !== 'AwaitExpression') return undefined;
  const call = init.argument;
  if (call.type === 'ImportExpression') return textOf(call.source);
  const isVite = call.type === 'CallExpression' && call.callee.type === 'Identifier' && call.callee.name === '__vite_ssr_import__';
  return isVite ? viteSpecifier(textOf(call.arguments[0])) : undefined;
}

/** Vite serves files under URLs of its own. Only packages and builtins are modules to Node as well: the project's files are not. */
function viteSpecifier(url: string | undefined): string | undefined {
  if (url === undefined || url.startsWith('node:')) return url;
  const file = url.startsWith('/@fs/') ? url.slice('/@fs'.length) : url;
  if (!file.includes('/node_modules/')) return undefined;
  return file.startsWith('/node_modules/') ? `${process.cwd()}${file}` : file;
}

function requireOf(init: Expression): RequireBinding | undefined {
  const direct = requiredSpecifier(init);
  if (direct !== undefined) return { specifier: direct, path: [] };
  if (init.type === 'MemberExpression' && !init.computed && init.property.type === 'Identifier') {
    const specifier = requiredSpecifier(init.object);
    return specifier === undefined ? undefined : { specifier, path: [init.property.name] };
  }
  if (init.type !== 'CallExpression' || init.callee.type !== 'Identifier') return undefined;
  const [first, ...others] = init.arguments;
  const specifier = requiredSpecifier(first);
  const rest = others.map((argument) => (argument.type === 'Literal' ? (argument.value as Primitive) : undefined));
  return specifier === undefined ? undefined : { specifier, path: [], helper: { name: init.callee.name, rest } };
}

function requiredSpecifier(node: AnyNode | undefined): string | undefined {
  const isRequire = node?.type === 'CallExpression' && node.callee.type === 'Identifier' && node.callee.name === 'require';
  return isRequire ? textOf((node as CallExpression).arguments[0]) : undefined;
}

function textOf(node: AnyNode | undefined): string | undefined {
  return node?.type === 'Literal' && typeof node.value === 'string' ? node.value : undefined;
}

/** `x` is the value itself, `{ a, b: c }` are members of it; deeper patterns are values of their own. */
function destructured(pattern: Pattern): readonly (readonly [name: string, path: readonly string[]])[] {
  if (pattern.type === 'Identifier') return [[pattern.name, []]];
  if (pattern.type !== 'ObjectPattern') return [];
  return pattern.properties.flatMap((property) =>
    property.type === 'Property' && !property.computed && property.value.type === 'Identifier' ? [[property.value.name, [nameOf(property.key)]] as const] : []);
}

function declaredNames(declaration: AnyNode | null | undefined): readonly string[] {
  if (declaration?.type === 'VariableDeclaration') return declaration.declarations.flatMap(({ id }) => (id.type === 'Identifier' ? [id.name] : []));
  return (declaration?.type === 'FunctionDeclaration' || declaration?.type === 'ClassDeclaration') && declaration.id ? [declaration.id.name] : [];
}

function nameOf(node: AnyNode): string {
  return node.type === 'Identifier' ? node.name : node.type === 'Literal' ? String(node.value) : '';
}

/** The offset that V8 gives for a function: that of its parameters, or its start where no word precedes them; of a class, its constructor's if it has one. */
export function anchorOf(source: string, node: AnyNode): number {
  switch (node.type) {
    case 'FunctionDeclaration':
    case 'FunctionExpression':
      return source.indexOf('(', node.id?.end ?? node.start);
    case 'ClassDeclaration':
    case 'ClassExpression':
      return constructorIn(node)?.value.start ?? node.start;
    default:
      return node.start;
  }
}

function constructorIn(node: Class): MethodDefinition | undefined {
  return node.body.body.find((element): element is MethodDefinition => element.type === 'MethodDefinition' && element.kind === 'constructor');
}
