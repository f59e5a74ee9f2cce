/** A project outside of the repository, as the README has it made: it links the packages, compiles with their types, and runs. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const COMPILER = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');
const LIBRARIES = ['core', 'collective', 'tune', 'tensor', 'train'];

const project = mkdtempSync(join(tmpdir(), 'muster-p-'));
t.teardown(() => rmSync(project, { recursive: true, force: true }));
const { MUSTER_ADDRESS: _, ...env } = process.env;

/** What a program prints. @throws Error with its complaints where it fails */
function run(program: string, ...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: project, encoding: 'utf8', env: { ...env, MUSTER_HOME: join(project, 'home') } });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}:\n${stdout}${stderr}`);
  return stdout;
}

t.test('a project that links the packages has their types and the command, and runs the first program', async (t) => {
  const [, first] = /```ts\n([^]*?)```/.exec(readFileSync(join(ROOT, 'README.md'), 'utf8'))!;
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }');
  writeFileSync(join(project, 'tsconfig.json'), '{ "compilerOptions": { "module": "nodenext", "target": "es2023", "strict": true, "outDir": "out" }, "include": ["*.ts"] }');
  writeFileSync(join(project, 'first.ts'), first!);
  const names = LIBRARIES.map((name) => `import * as ${name} from '@muster/${name}';`).join('\n');
  writeFileSync(join(project, 'all.ts'), `${names}\nexport const all = [${LIBRARIES.join(', ')}];\n// @ts-expect-error: their types are there\nexport const wrong = () => core.init({ cpus: 'two' });\n`);
  run('npm', 'install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund', ...[...LIBRARIES, 'cli'].map((name) => join(ROOT, 'packages', name)));
  run(process.execPath, COMPILER, '-p', project);
  run(process.execPath, 'out/all.js');
  t.equal(run(process.execPath, 'out/first.js'), '16\n1\n4\n9\n500000\n[ 1, 3 ]\n');
  t.match(run('node_modules/.bin/cluster', '--help'), /submit/);
  t.notOk(existsSync(join(project, 'node_modules', '@muster', 'base')), 'what the packages need is found where they are');
});
