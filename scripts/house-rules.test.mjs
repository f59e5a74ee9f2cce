import t from 'tap';
import { checkHouse, HOUSE_RULES } from './house-rules.mjs';
import { codeOf, importsOf } from './source-text.mjs';

/** A source file as the rules see it. */
function source(path, text) {
  const folder = path.startsWith('packages/') ? path.split('/').slice(0, 2).join('/') : path.split('/')[0];
  return { path, text, folder, package: folder.split('/').at(-1) };
}

/** The violations by rule; rules that are kept are left out. */
function broken(...files) {
  return Object.fromEntries(checkHouse(files).filter(({ violations }) => violations.length > 0).map(({ rule, violations }) => [rule, violations]));
}

const ARROWS = HOUSE_RULES[0].rule;
const PUBLIC_NAMES = HOUSE_RULES[1].rule;
const DECLARED = HOUSE_RULES[2].rule;
const CIRCLES = HOUSE_RULES[3].rule;
const PURE = HOUSE_RULES[4].rule;

t.test('an import against the arrows is found, also of a type, also over several lines', async (t) => {
  t.strictSame(broken(source('packages/base/src/a.ts', `import { x } from '@muster/core';`))[ARROWS], ['packages/base/src/a.ts:1: base may not import @muster/core']);
  t.ok(broken(source('packages/head/src/a.ts', `import type {\n  Store,\n} from '@muster/store';`))[ARROWS]);
  t.ok(broken(source('packages/tune/src/a.ts', `export * from '@muster/protocol';`))[ARROWS]);
  t.ok(broken(source('scheduler/src/a.ts', `const x = await import('@muster/head');`))[ARROWS]);
  t.ok(broken(source('examples/a.ts', `import { x } from '@muster/base';`))[ARROWS]);
});

t.test('imports along the arrows are fine', async (t) => {
  t.strictSame(broken(source('packages/store/src/io/a.ts', `import { x } from '@muster/native';\nimport { join } from 'node:path';`)), {});
  t.strictSame(broken(source('packages/tune/src/a.ts', `import { remote } from '@muster/core';\nimport { makeError } from '@muster/base';`)), {});
  t.strictSame(broken(source('packages/core/src/a.ts', `// import { x } from '@muster/head';\nconst text = "import { x } from '@muster/head'";`)), {});
});

t.test('reaching into another package is found', async (t) => {
  t.ok(broken(source('packages/core/src/a.ts', `import { x } from '../../store/src/b.js';`))[PUBLIC_NAMES]);
  t.ok(broken(source('packages/core/src/a.ts', `import { x } from '@muster/store/dist/b.js';`))[PUBLIC_NAMES]);
  t.ok(broken(source('packages/tune/src/a.ts', `import { x } from '@muster/core/internal';`))[PUBLIC_NAMES]);
  t.strictSame(broken(source('packages/worker/src/a.ts', `import { x } from '@muster/core/internal';`)), {});
});

t.test('an undeclared package is found, except of tests where the root declares it', async (t) => {
  t.ok(broken(source('packages/base/src/a.ts', `import pino from 'pino';`))[DECLARED]);
  t.ok(broken(source('packages/base/src/a.ts', `import t from 'tap';`))[DECLARED]);
  t.strictSame(broken(source('packages/base/src/a.test.ts', `import t from 'tap';`)), {});
});

t.test('a circle of imports is found, and one of types is none', async (t) => {
  const one = source('packages/base/src/one.ts', `import { two } from './two.js';`);
  t.strictSame(broken(one, source('packages/base/src/two.ts', `export { one } from './one.js';`))[CIRCLES], ['packages/base/src/one.ts -> packages/base/src/two.ts -> packages/base/src/one.ts']);
  t.strictSame(broken(one, source('packages/base/src/two.ts', `import type { One } from './one.js';`)), {});
  t.strictSame(broken(one, source('packages/base/src/two.ts', `import { type One } from './one.js';`)), {});
});

t.test('a machine that does I/O or reads a clock is found', async (t) => {
  const machine = (text) => broken(source('packages/head/src/machine/a.ts', text))[PURE];
  for (const text of ['const now = Date.now();', 'setTimeout(f, 1);', 'Math.random();', 'async function f() {}', `import { readFileSync } from 'node:fs';`, `import { x } from '../io/x.js';`, 'process.exit(1);']) t.ok(machine(text), text);
  for (const text of ['// Date.now() is not for here', `throw new Error('no Date here');`, 'const update = candidate;', 'process.stream = null;', 'const r = /Date/;']) t.notOk(machine(text), text);
  t.notOk(broken(source('packages/head/src/io/a.ts', 'const now = Date.now();'))[PURE]);
});

t.test('what is put off and what is too long is found', async (t) => {
  t.ok(broken(source('native/src/a.cc', `// ${'TO' + 'DO'}: later`))['nothing is put off']);
  t.ok(broken(source('packages/base/src/a.ts', 'x;\n'.repeat(501)))['source files have at most 500 lines']);
  t.notOk(broken(source('packages/base/src/a.ts', 'x;\n'.repeat(500)))['source files have at most 500 lines']);
});

t.test('code is told from comments, strings, templates and regular expressions', async (t) => {
  t.equal(codeOf(`a('it\\'s'); // c\nb /* d */ e`).replace(/ +/g, ' '), 'a( ); \nb e');
  t.equal(codeOf('f(`${g(`x`)} y`); h').replace(/ +/g, ' '), 'f( ); h');
  t.equal(codeOf('a = b / c; // d').trimEnd(), 'a = b / c;');
  t.equal(codeOf(`x.replace(/['"]/g, y); z`).replace(/ +/g, ' '), 'x.replace( g, y); z');
  t.strictSame(importsOf(`import './a.js';\nimport b, { c } from "b";\nexport * as d from 'd';\nexport const from = 'e';`).map(({ specifier }) => specifier), ['./a.js', 'b', 'd']);
});
