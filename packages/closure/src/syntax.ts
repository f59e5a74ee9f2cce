/** Parsing. The parser takes 30 ms to load, so it is loaded when the first function is captured, and never where functions are only revived. */
import { createRequire } from 'node:module';
import type { AnyNode, Program, Token } from 'acorn';
import type { Reference } from 'eslint-scope';
import type { Piece } from './layout.js';

type Acorn = typeof import('acorn');
type EslintScope = typeof import('eslint-scope');
type SourceType = 'module' | 'script';

let loaded: { readonly acorn: Acorn; readonly scope: EslintScope } | undefined;

function libraries(): NonNullable<typeof loaded> {
  const require = createRequire(import.meta.url);
  return (loaded ??= { acorn: require('acorn') as Acorn, scope: require('eslint-scope') as EslintScope });
}

/** A piece of code is parsed without what surrounds it. */
const LENIENT = {
  ecmaVersion: 'latest', allowReturnOutsideFunction: true, allowAwaitOutsideFunction: true, allowSuperOutsideMethod: true, allowHashBang: true,
} as const;

/** Parses as the first of the source types that accepts the text. @throws SyntaxError of the first one */
export function parse(text: string, sourceTypes: readonly SourceType[]): { readonly program: Program; readonly sourceType: SourceType } {
  let firstError: unknown;
  for (const sourceType of sourceTypes) {
    try {
      const program = libraries().acorn.parse(text, { ...LENIENT, sourceType, ranges: true });
      return { program, sourceType };
    } catch (error) {
      firstError ??= error;
    }
  }
  throw firstError;
}

/** The tokens of a function's source, without its comments. */
export function tokensOf(source: string, isMethod: boolean, isSloppy: boolean): readonly Piece[] {
  const [prefix, suffix] = isMethod ? ['({', '})'] : ['(', ')'];
  const tokens: Token[] = [];
  libraries().acorn.parse(prefix + source + suffix, { ...LENIENT, sourceType: isSloppy ? 'script' : 'module', onToken: tokens });
  return tokens.slice(prefix.length, -suffix.length - 1) // of one character each, and the end of the file
    .map(({ start, end, type }) => ({ start: start - prefix.length, end: end - prefix.length, text: source.slice(start - prefix.length, end - prefix.length), isTemplate: type.label === 'template' }));
}

/** The line and column of an offset in a text, both from 0. */
export function positionOf(text: string, offset: number): { readonly line: number; readonly column: number } {
  const { line, column } = libraries().acorn.getLineInfo(text, offset);
  return { line: line - 1, column };
}

/**
 * References to variables that nothing inside of the expression declares. A function that assigns its own name is a declaration
 * in truth, and its name a variable outside of it: compilers' helpers replace themselves in this way.
 */
export function freeReferences(expression: Program, sourceType: SourceType): readonly Reference[] {
  const { scopes } = libraries().scope.analyze(expression as Parameters<EslintScope['analyze']>[0], { ecmaVersion: 2022, sourceType, ignoreEval: true });
  const ofOwnName = scopes.find(({ type, upper }) => type === 'function-expression-name' && (upper?.type === 'module' || upper?.type === 'global'));
  const toOwnName = ofOwnName?.variables[0]?.references ?? [];
  return [...(scopes[0]?.through ?? []), ...(toOwnName.some((reference) => reference.isWrite()) ? toOwnName : [])];
}

/** The nodes directly below a node. */
export function* childrenOf(node: AnyNode): Generator<AnyNode> {
  for (const value of Object.values(node) as unknown[]) {
    if (Array.isArray(value)) {
      for (const item of value as unknown[]) if (isNode(item)) yield item;
    } else if (isNode(value)) {
      yield value;
    }
  }
}

function isNode(value: unknown): value is AnyNode {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';
}
