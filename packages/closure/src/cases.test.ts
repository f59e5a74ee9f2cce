/** Every case of fixtures/cases.js, captured by a main script of each kind and revived by another process. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { environment, fixtures, makeProject } from './testing/project.js';

interface MainScript {
  readonly kind: string;
  readonly type: 'module' | 'commonjs';
  readonly file: string;
  readonly head: string;
  readonly flags?: readonly string[];
}

const tsx = ['--import', import.meta.resolve('tsx')];

const mainScripts: readonly MainScript[] = [
  { kind: 'an ES module', type: 'module', file: 'main.js', head: 'main.esm.js' },
  { kind: 'CommonJS', type: 'commonjs', file: 'main.cjs', head: 'main.cjs.js' },
  { kind: 'TypeScript as an ES module, under tsx', type: 'module', file: 'main.ts', head: 'main.ts.js', flags: tsx },
  { kind: 'TypeScript as CommonJS, under tsx', type: 'commonjs', file: 'main.ts', head: 'main.ts.js', flags: tsx },
];

for (const { kind, type, file, head, flags = [] } of mainScripts) {
  await t.test(`the main script is ${kind}`, async (t) => {
    const project = makeProject(type);
    t.teardown(() => project.remove());
    const main = project.write(file, readFileSync(path.join(fixtures, head), 'utf8') + readFileSync(path.join(fixtures, 'cases.js'), 'utf8'));
    const child = spawn(process.execPath, [...flags, main], { cwd: project.directory, env: environment, stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = once(child, 'exit');
    let count = 0;
    for await (const line of createInterface(child.stdout)) {
      const { name, problem } = JSON.parse(line) as { readonly name: string; readonly problem?: string };
      t.equal(problem, undefined, name);
      count++;
    }
    t.same(await exited, [0, null], 'the main script ends well');
    t.ok(count > 100, 'all cases ran');
  });
}
