/** What TypeScript's own compiler and tsx write for TypeScript's constructs, captured and revived. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { environment, fixtures, makeProject } from './testing/project.js';

const source = readFileSync(path.join(fixtures, 'typescript.ts'), 'utf8');
const compiler = fileURLToPath(new URL('../bin/tsc', import.meta.resolve('typescript')));

interface Build {
  readonly kind: string;
  readonly type: 'module' | 'commonjs';
  /** The compiler's flags; under tsx when there are none. */
  readonly compile?: readonly string[];
}

const builds: readonly Build[] = [
  { kind: 'CommonJS of ES2017 with legacy decorators', type: 'commonjs', compile: ['--module', 'node16', '--target', 'es2017', '--experimentalDecorators', '--esModuleInterop'] },
  { kind: 'CommonJS of ES2022 with decorators', type: 'commonjs', compile: ['--module', 'node16', '--target', 'es2022'] },
  { kind: 'ES modules of ES2015', type: 'module', compile: ['--module', 'nodenext', '--target', 'es2015'] },
  { kind: 'ES modules of ES2022', type: 'module', compile: ['--module', 'nodenext', '--target', 'es2022'] },
  { kind: 'CommonJS by tsx', type: 'commonjs' },
  { kind: 'ES modules by tsx', type: 'module' },
];

for (const { kind, type, compile } of builds) {
  await t.test(kind, async (t) => {
    const project = makeProject(type);
    t.teardown(() => project.remove());
    // tsx cannot make `import x = require()` of an ES module
    let main = project.write('main.ts', compile || type === 'commonjs' ? source : source.replace("import greet = require('./exported.cjs')", "import greet from './exported.cjs'"));
    if (compile) {
      try {
        execFileSync(process.execPath, [compiler, ...compile, '--noCheck', '--skipLibCheck', '--lib', 'es2022', '--outDir', 'out', 'main.ts'], { cwd: project.directory, encoding: 'utf8', stdio: 'pipe' });
      } catch (error) {
        t.comment((error as { stdout?: string }).stdout);
      }
      main = project.write('main.js', readFileSync(path.join(project.directory, 'out/main.js'), 'utf8'));
    }
    const child = spawn(process.execPath, [...(compile ? [] : ['--import', import.meta.resolve('tsx')]), main], { cwd: project.directory, env: environment, stdio: ['ignore', 'pipe', 'inherit'] });
    const exited = once(child, 'exit');
    let count = 0;
    for await (const line of createInterface(child.stdout)) {
      const { name, problem } = JSON.parse(line) as { readonly name: string; readonly problem?: string };
      t.equal(problem, undefined, name);
      count++;
    }
    t.same(await exited, [0, null], 'the main script ends well');
    t.equal(count, 15, 'all cases ran');
  });
}
