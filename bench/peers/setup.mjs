/**
 * Installs the peers of the core benchmark into this folder: node_modules/ from its lock file, and Ray with what its
 * microbenchmarks import into .venv/. Both are ignored by git. A peer whose installer is missing is left out, and
 * `run.mjs` skips it with its reason.
 */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('.', import.meta.url));
const ENVIRONMENT = join(FOLDER, '.venv');

function run(command, ...args) {
  console.log(`$ ${[command, ...args].join(' ')}`);
  const { status, error } = spawnSync(command, args, { cwd: FOLDER, stdio: 'inherit' });
  if (error) console.error(error.message);
  return status === 0;
}

const packagesInstalled = run('npm', 'ci');
const rayInstalled = run('python3', '-m', 'venv', ENVIRONMENT)
  && run(join(ENVIRONMENT, 'bin/python'), '-m', 'pip', 'install', '--quiet', '--requirement', 'requirements.txt');
// Half an environment would look like an installed one.
if (!rayInstalled) rmSync(ENVIRONMENT, { recursive: true, force: true });

if (!packagesInstalled) console.error('The peers on Node are not installed.');
if (!rayInstalled) console.error('Ray is not installed.');
process.exitCode = packagesInstalled && rayInstalled ? 0 : 1;
