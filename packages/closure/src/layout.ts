/**
 * Puts the pieces of an edited source back to the lines and columns of the file that its author wrote, so that stack traces name them without
 * any map: where edits have lengthened a line, and where a loader such as tsx has squeezed the file. It only moves white space between
 * tokens, where that cannot change what the code means. Knows nothing of what the edits are for.
 */
import { findSourceMap, type SourceMap } from 'node:module';
import { fileURLToPath } from 'node:url';
import { withoutQuery } from './files.js';
import type { Script } from './inspector.js';

/** A place in a file; both numbers count from 0. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Text that stays together: a token, or what an edit has put in the place of some. */
export interface Piece {
  /** Where it stood in the source; a piece that an edit inserts covers nothing. */
  readonly start: number;
  readonly end: number;
  readonly text: string;
  /** Of a template literal, around which any white space would count. */
  readonly isTemplate: boolean;
}

/** A source, and where its first character is in the file that stack traces are to name. */
export interface PlacedText {
  readonly text: string;
  readonly start: Position;
}

/** Where the author wrote what stands at a place of the script; undefined where that is not known. */
export type Origin = (position: Position) => Position | undefined;

/** The author's file, where a loader compiled it in memory. Files that were compiled to others go unmapped: imports are theirs. */
export function originIn(script: Script): Origin | undefined {
  const map = mapOf(script);
  return map && (({ line, column }) => {
    const entry = map.findEntry(line, column);
    const isExact = 'originalLine' in entry && entry.generatedLine === line && entry.generatedColumn === column && isOwnSource(entry.originalSource, script);
    return isExact ? { line: entry.originalLine, column: entry.originalColumn } : undefined;
  });
}

/** The line of the author's file, from 0, for a place in a script. */
export function lineWritten(script: Script, { line, column }: Position): number {
  const entry = mapOf(script)?.findEntry(line, column);
  return entry && 'originalLine' in entry && isOwnSource(entry.originalSource, script) ? entry.originalLine : line;
}

const maps = new WeakMap<Script, SourceMap | null>();

function mapOf(script: Script): SourceMap | undefined {
  let map = maps.get(script);
  if (map === undefined) maps.set(script, (map = (script.hasSourceMap ? findSourceMap(script.url) : undefined) ?? null));
  return map ?? undefined;
}

function isOwnSource(source: string, { url }: Script): boolean {
  try {
    return fileURLToPath(new URL(source, url)) === fileURLToPath(withoutQuery(url));
  } catch {
    return false; // it names no file
  }
}

/** `source` stands at `start` in its script. The pieces cover its tokens, in order. */
export function layOut(source: string, pieces: readonly Piece[], start: Position, origin: Origin | undefined): PlacedText {
  const targetOf = targets(source, start, origin);
  const first = targetOf(0) ?? start;
  let { line, column } = first;
  let text = '';
  const write = (part: string): void => {
    const lines = part.split('\n');
    line += lines.length - 1;
    column = lines.length > 1 ? lines.at(-1)!.length : column + part.length;
    text += part;
  };
  let before: Piece | undefined;
  for (const piece of pieces) {
    const gap = source.slice(before?.end ?? 0, piece.start);
    write(before && gap.trim() === '' && !isGlued(before, piece) ? spaceTo(targetOf(piece.start), { line, column }, gap, before.text, piece.text) : gap);
    write(piece.text);
    before = piece;
  }
  write(source.slice(before?.end ?? 0));
  return { text, start: first };
}

function targets(source: string, start: Position, origin: Origin | undefined): (offset: number) => Position | undefined {
  const lineStarts = [0];
  for (let at = source.indexOf('\n'); at >= 0; at = source.indexOf('\n', at + 1)) lineStarts.push(at + 1);
  let line = 0;
  return (offset) => { // offsets come in order
    while (offset >= (lineStarts[line + 1] ?? Infinity)) line++;
    const place = { line: start.line + line, column: offset - lineStarts[line]! + (line === 0 ? start.column : 0) };
    return origin ? origin(place) : place;
  };
}

/** No white space may come or go between them. */
const isGlued = (before: Piece, piece: Piece): boolean => before.isTemplate || piece.isTemplate;

const WORD = /[\p{ID_Continue}$\u200c\u200d]/u;
const PUNCTUATION = ';,(){}[]';
const OPERATOR = '=+-*/%<>&|^!~?:';
const QUOTES = '\'"`';
/** After these words, and before these tokens, a line break would end the statement or be refused. */
const HOLDS_LINE = /^(?:return|throw|break|continue|yield|async)$/;
const HELD_TO_LINE = /^(?:\+\+|--|=>)$/;

/** Moves on to a place as far as the code stays what it is. A gap with a line break keeps one, for it may end a statement. */
function spaceTo(target: Position | undefined, at: Position, gap: string, before: string, after: string): string {
  const hasBreak = gap.includes('\n');
  if (target && target.line > at.line && (hasBreak || !(HOLDS_LINE.test(before) || HELD_TO_LINE.test(after)))) {
    return '\n'.repeat(target.line - at.line) + ' '.repeat(target.column);
  }
  if (hasBreak) return gap;
  const least = (gap === '' ? areWords(before, after) : !canTouch(before, after)) ? 1 : 0; // an edit may bring words together
  return ' '.repeat(Math.max(least, target?.line === at.line ? target.column - at.column : gap.length));
}

const areWords = (before: string, after: string): boolean => WORD.test(before.at(-1) ?? '') && WORD.test(after[0] ?? '');

/** Whether two tokens with a blank between them are the same without it: brackets and the like, and an operator beside an operand. */
function canTouch(before: string, after: string): boolean {
  const [last, first] = [before.at(-1) ?? ' ', after[0] ?? ' '];
  const isBeside = (operator: string, operand: string): boolean => OPERATOR.includes(operator) && (WORD.test(operand) || QUOTES.includes(operand));
  return PUNCTUATION.includes(last) || PUNCTUATION.includes(first) || isBeside(last, first) || isBeside(first, last);
}
