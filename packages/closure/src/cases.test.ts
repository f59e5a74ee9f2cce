/** Every case of fixtures/cases.js, captured by a main script of each kind and revived by another process. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { testMainScript, tsxFlags } from './testing/main-script.js';
import { fixtures, makeProject } from './testing/project.js';

interface MainScript {
  readonly kind: string;
  readonly type: 'module' | 'commonjs';
  readonly file: string;
  readonly head: string;
  readonly flags?: readonly string[];
}

const mainScripts: readonly MainScript[] = [
  { kind: 'an ES module', type: 'module', file: 'main.js', head: 'main.esm.js' },
  { kind: 'CommonJS', type: 'commonjs', file: 'main.cjs', head: 'main.cjs.js' },
  { kind: 'TypeScript as an ES module, under tsx', type: 'module', file: 'main.ts', head: 'main.ts.js', flags: tsxFlags },
  { kind: 'TypeScript as CommonJS, under tsx', type: 'commonjs', file: 'main.ts', head: 'main.ts.js', flags: tsxFlags },
];

const textOf = (fixture: string): string => readFileSync(path.join(fixtures, fixture), 'utf8');

for (const { kind, type, file, head, flags } of mainScripts) {
  await t.test(`the main script is ${kind}`, async (t) => {
    const project = makeProject(type);
    t.teardown(() => project.remove());
    const main = project.write(file, textOf(head) + textOf('cases.js'));
    t.ok(await testMainScript(t, project, main, flags) > 130, 'all cases ran');
  });
}
