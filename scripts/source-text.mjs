/** Reads TypeScript as text: enough to tell code from comments and strings, and to find imports. */

const REGEX_MAY_FOLLOW = /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\b(?:return|typeof|case|in|of|do|else|void|delete|throw|await|yield))\s*$/;

/**
 * The source with comments blanked out, and the contents of strings, templates and regular expressions too unless `strings` is set.
 * Lines keep their numbers. Code inside of a template's `${}` counts as its text.
 * @param {string} source
 * @param {{ strings?: boolean }} [keep]
 */
export function codeOf(source, { strings = false } = {}) {
  let code = '';
  let at = 0;
  const take = (end, isKept) => {
    const text = source.slice(at, end);
    code += isKept ? text : text.replace(/[^\n]/g, ' ');
    at = end;
  };
  while (at < source.length) {
    const two = source.slice(at, at + 2);
    const one = source[at];
    if (two === '//') take(endOf(source, '\n', at), false);
    else if (two === '/*') take(endOf(source, '*/', at + 2) + 2, false);
    else if (one === "'" || one === '"' || one === '`') take(endOfLiteral(source, at, one), strings);
    else if (one === '/' && REGEX_MAY_FOLLOW.test(code.slice(-80))) take(endOfRegex(source, at), strings);
    else take(at + 1, true);
  }
  return code;
}

function endOf(source, text, from) {
  const index = source.indexOf(text, from);
  return index < 0 ? source.length : index;
}

function endOfLiteral(source, start, quote) {
  let at = start + 1;
  while (at < source.length && source[at] !== quote) {
    if (quote === '`' && source.startsWith('${', at)) at = endOfSubstitution(source, at + 2);
    else at += source[at] === '\\' ? 2 : 1;
  }
  return at + 1;
}

function endOfSubstitution(source, start) {
  let depth = 1;
  let at = start;
  while (at < source.length && depth > 0) {
    const one = source[at];
    if (one === "'" || one === '"' || one === '`') {
      at = endOfLiteral(source, at, one);
      continue;
    }
    if (one === '{') depth++;
    if (one === '}') depth--;
    at++;
  }
  return at;
}

function endOfRegex(source, start) {
  let isClass = false;
  let at = start + 1;
  while (at < source.length && (isClass || source[at] !== '/')) {
    if (source[at] === '\\') at++;
    else if (source[at] === '[') isClass = true;
    else if (source[at] === ']') isClass = false;
    at++;
  }
  return at + 1;
}

const STATIC_IMPORT = /^[ \t]*(?:import|export)\s+(type\s)?(?:[\w*$\s{},]+?\sfrom\s*)?(['"])([^'"\n]+)\2/gm;
const DYNAMIC_IMPORT = /\bimport\(\s*(['"])([^'"\n]+)\1/g;

/**
 * What a module imports or re-exports. Types are gone at run time.
 * @param {string} source
 * @returns {{ specifier: string, isType: boolean, line: number }[]}
 */
export function importsOf(source) {
  const code = codeOf(source, { strings: true });
  const lineAt = (index) => code.slice(0, index).split('\n').length;
  return [
    ...[...code.matchAll(STATIC_IMPORT)].map((match) => ({ specifier: match[3], isType: match[1] !== undefined || hasTypesOnly(match[0]), line: lineAt(match.index) })),
    ...[...code.matchAll(DYNAMIC_IMPORT)].map((match) => ({ specifier: match[2], isType: false, line: lineAt(match.index) })),
  ];
}

function hasTypesOnly(statement) {
  const names = /\{([^}]*)\}/.exec(statement)?.[1].split(',').map((name) => name.trim()).filter(Boolean) ?? [];
  return names.length > 0 && names.every((name) => name.startsWith('type '));
}
