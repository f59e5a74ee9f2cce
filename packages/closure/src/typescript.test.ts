/** What TypeScript's own compiler and tsx write for TypeScript's constructs, captured and revived. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { testMainScript, tsxFlags } from './testing/main-script.js';
import { environment, fixtures, makeProject, type Project } from './testing/project.js';

const source = readFileSync(path.join(fixtures, 'typescript.ts'), 'utf8');
const compiler = fileURLToPath(new URL('../bin/tsc', import.meta.resolve('typescript')));
const CASES = 15;

interface Build {
  readonly kind: string;
  readonly type: 'module' | 'commonjs';
  /** The compiler's flags. */
  readonly flags: readonly string[];
}

const builds: readonly Build[] = [
  {
    kind: 'CommonJS of ES2017 with legacy decorators', type: 'commonjs',
    flags: ['--module', 'node16', '--target', 'es2017', '--experimentalDecorators', '--esModuleInterop'],
  },
  { kind: 'CommonJS of ES2022 with decorators', type: 'commonjs', flags: ['--module', 'node16', '--target', 'es2022'] },
  { kind: 'ES modules of ES2015', type: 'module', flags: ['--module', 'nodenext', '--target', 'es2015'] },
  { kind: 'ES modules of ES2022', type: 'module', flags: ['--module', 'nodenext', '--target', 'es2022'] },
];

/** Compiles the main script in place. The project has no types of its modules, so they are not checked. */
function compile(project: Project, flags: readonly string[]): string {
  project.write('main.ts', source);
  const { stdout } = spawnSync(process.execPath, [compiler, ...flags, '--noCheck', '--lib', 'es2022', 'main.ts'], { cwd: project.directory, env: environment, encoding: 'utf8' });
  if (stdout) t.comment(stdout);
  return path.join(project.directory, 'main.js');
}

for (const { kind, type, flags } of builds) {
  await t.test(kind, async (t) => {
    const project = makeProject(type);
    t.teardown(() => project.remove());
    t.equal(await testMainScript(t, project, compile(project, flags)), CASES, 'all cases ran');
  });
}

for (const type of ['commonjs', 'module'] as const) {
  await t.test(`${type} by tsx`, async (t) => {
    const project = makeProject(type);
    t.teardown(() => project.remove());
    // tsx cannot make `import x = require()` of an ES module
    const text = type === 'commonjs' ? source : source.replace("import greet = require('./exported.cjs')", "import greet from './exported.cjs'");
    t.equal(await testMainScript(t, project, project.write('main.ts', text), tsxFlags), CASES, 'all cases ran');
  });
}
