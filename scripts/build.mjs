/** From a checkout to a program that runs: packages, native addon, message types, compiled TypeScript. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { runQuietly } from './command.mjs';
import { fingerprint, unlessUnchanged } from './fingerprint.mjs';
import { step, StepFailure } from './terminal.mjs';
import { compiledFilesOf, compiledFolders, workspaceFolders } from './workspaces.mjs';

const NODE_OLDEST = [20, 19];
const CPP20_PROBE = '#include <concepts>\n#include <span>\nint main() { std::span<int> none; return static_cast<int>(none.size()); }\n';

/** Builds what has changed. @throws ExplainedFailure */
export async function build() {
  await step('node', async () => checkNode());
  await step('install', install);
  await step('native', buildNative);
  await step('cuda', buildCuda);
  await step('protocol', generateProtocol);
  await step('compile', compile);
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > NODE_OLDEST[0] || (major === NODE_OLDEST[0] && minor >= NODE_OLDEST[1])) return process.version;
  throw new StepFailure({ what: `This is Node ${process.versions.node}; Muster needs ${NODE_OLDEST.join('.')} or newer.`, next: 'install a newer Node, for example with `nvm install 22`, and run this again.' });
}

const INSTALLED_RECORD = 'node_modules/.package-lock.json';

/** npm leaves a copy of the lock file in node_modules, of what it installed there; optional packages are those of other platforms. */
function holdsWhatIsLocked() {
  if (!existsSync(INSTALLED_RECORD)) return false;
  const wanted = JSON.parse(readFileSync('package-lock.json', 'utf8')).packages;
  const installed = JSON.parse(readFileSync(INSTALLED_RECORD, 'utf8')).packages;
  return Object.entries(wanted).filter(([path]) => path.startsWith('node_modules/')).every(([path, entry]) =>
    installed[path] ? JSON.stringify(installed[path]) === JSON.stringify(entry) : entry.optional === true);
}

async function install() {
  if (holdsWhatIsLocked()) return 'unchanged';
  const manifests = ['.', ...workspaceFolders()].map((folder) => join(folder, 'package.json'));
  return unlessUnchanged({ name: 'install', fingerprint: fingerprint(['package-lock.json', ...manifests]), makes: INSTALLED_RECORD }, async () => {
    await runQuietly('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=warn'], { next: 'check the connection to the npm registry and the space on this disk, then run this again.' });
  });
}

function buildNative() {
  const inputs = ['native/CMakeLists.txt', 'native/package.json', 'native/include', 'native/src'];
  const makes = 'native/build/Release/muster.node';
  return unlessUnchanged({ name: 'native', fingerprint: fingerprint(inputs, `${process.platform}-${process.arch}`), makes }, async () => {
    checkCompiler();
    await runQuietly('npm', ['run', 'build', '-w', 'native'], { env: { CMAKE_BUILD_PARALLEL_LEVEL: String(availableParallelism()) } });
  });
}

/** Where the GPU's library and its tests are built. */
export const CUDA_FOLDER = 'native/build/cuda';

const CUDA_LIBRARY = `${CUDA_FOLDER}/libmuster_cuda.so`;
/** NVIDIA's driver makes them: the first on Linux, the second in Windows' Linux. */
const GPU_FILES = ['/dev/nvidiactl', '/dev/dxg'];

/** The GPU's library, which takes minutes: where it can be used. */
function buildCuda() {
  if (!hasNvcc()) return 'skipped: there is no nvcc, so nothing for GPUs is compiled';
  if (!GPU_FILES.some((file) => existsSync(file))) return 'skipped: there is no GPU here';
  return buildForGpus({ name: 'cuda', makes: CUDA_LIBRARY, target: 'muster_cuda' });
}

/** The same with its tests and its benchmark, whether there is a GPU or not. Nothing without nvcc. */
export async function buildCudaTests() {
  if (hasNvcc()) await buildForGpus({ name: 'cuda-tests', makes: CUDA_LIBRARY, target: 'all' });
}

const hasNvcc = () => spawnSync('nvcc', ['--version']).status === 0;

function buildForGpus({ name, makes, target }) {
  const inputs = ['native/CMakeLists.txt', 'native/cuda', 'native/include', 'native/src/kernels', 'native/src/collective', 'native/src/status.cc', 'native/src/status.h', 'native/test'];
  return unlessUnchanged({ name, fingerprint: fingerprint(inputs, `${process.platform}-${process.arch}`), makes }, async () => {
    const next = 'correct what it complains about, or take nvcc off the PATH to build without GPUs.';
    await runQuietly('cmake', ['-S', 'native/cuda', '-B', CUDA_FOLDER], { next });
    await runQuietly('cmake', ['--build', CUDA_FOLDER, '--target', target, '--parallel', String(availableParallelism())], { next });
  });
}

/** @throws StepFailure unless CMake and a C++20 compiler are there */
export function checkCompiler() {
  const compiler = process.env.CXX || 'c++';
  const next = 'install them: `apt-get install cmake g++` on Debian and Ubuntu, `dnf install cmake gcc-c++` on Fedora, `xcode-select --install` and `brew install cmake` on macOS.';
  if (spawnSync('cmake', ['--version']).status !== 0) throw new StepFailure({ what: 'The native addon needs CMake 3.22 or newer, and `cmake` does not run here.', next });
  const probe = spawnSync(compiler, ['-std=c++20', '-fsyntax-only', '-x', 'c++', '-'], { input: CPP20_PROBE, encoding: 'utf8' });
  if (probe.status !== 0) {
    throw new StepFailure({ what: `The native addon needs a C++20 compiler, and \`${compiler}\` is none.`, output: probe.stderr || probe.error?.message, next });
  }
}

function generateProtocol() {
  const script = 'packages/protocol/scripts/generate.mjs';
  return unlessUnchanged({ name: 'protocol', fingerprint: fingerprint(['proto', script, 'package-lock.json']), makes: 'packages/protocol/src/generated/messages.ts' },
    async () => { await runQuietly(process.execPath, [script]); });
}

/** tsc -b is incremental by itself: it trusts its record of what it made, so that goes where files were taken away or have to be. */
async function compile() {
  for (const folder of workspaceFolders()) sweepCompiled(folder);
  const projects = ['.', 'test', 'examples'].filter((folder) => existsSync(join(folder, 'tsconfig.json')));
  await runQuietly(process.execPath, ['node_modules/typescript/bin/tsc', '-b', ...projects, '--pretty', 'false']);
}

/** What was compiled from a source that is gone would still be imported and tested. */
function sweepCompiled(folder) {
  const { compiled } = compiledFolders(folder);
  if (!compiled) return;
  const stale = compiledFilesOf(folder).filter(({ source }) => !existsSync(source));
  for (const { file } of stale) rmSync(file);
  if (stale.length === 0 && existsSync(compiled)) return;
  for (const record of [folder, compiled]) rmSync(join(record, 'tsconfig.tsbuildinfo'), { force: true });
}
