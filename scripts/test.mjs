/**
 * `npm test [-- PATTERN]`: the rules of the house, the native core's own tests, every compiled test file, and in CI a program on a newer
 * Node. One line for each; details of failures only. A pattern picks those whose name holds it.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { build } from './build.mjs';
import { filesUnder } from './fingerprint.mjs';
import { checkHouse } from './house-rules.mjs';
import { orphanedSharedMemory, SHARED_MEMORY, sharedMemoryNames } from './leftovers.mjs';
import { runCudaTests, runNativeTests } from './native-tests.mjs';
import { NEWER_NODE, runOnNewerNode } from './newer-node.mjs';
import { ExplainedFailure, indent } from './terminal.mjs';
import { interruptTestFiles, runTestFile } from './test-file.mjs';
import { formatSeconds } from './time.mjs';
import { compiledFilesOf, compiledFolders, temporaryFolder, workspaceFolders } from './workspaces.mjs';

/** The machine's tests start clusters: more at a time would measure each other. */
const FILES_AT_A_TIME = 2;
const DETAIL_LINES = 60;

/** @typedef {import('./test-file.mjs').TestResult} TestResult */
/** @typedef {{ name: string, run: (folder: string) => Promise<TestResult> }} Suite */

/** @param {string} pattern '' for everything */
export async function test(pattern) {
  await build();
  process.stdout.write('\n');
  const isWanted = ({ name }) => name.includes(pattern);
  const root = mkdtempSync(join(temporaryFolder(), 'muster-run-'));
  const sharedMemoryBefore = sharedMemoryNames();
  const interrupt = () => {
    interruptTestFiles();
    rmSync(root, { recursive: true, force: true });
    process.exit(130);
  };
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);

  const total = { passed: 0, failed: 0, skipped: 0 };
  let started = 0;
  const runSuite = async (suite) => {
    const startedAt = performance.now();
    const result = await suite.run(join(root, String(started++)));
    printResult(suite.name, result, performance.now() - startedAt);
    for (const key of Object.keys(total)) total[key] += result[key];
  };
  try {
    for (const suite of suitesBefore().filter(isWanted)) await runSuite(suite);
    const files = testFiles().filter(isWanted);
    await Promise.all(Array.from({ length: FILES_AT_A_TIME }, async () => {
      for (let suite = files.shift(); suite; suite = files.shift()) await runSuite(suite);
    }));
    for (const suite of suitesAfter().filter(isWanted)) await runSuite(suite);
    if (started === 0) process.stdout.write(`  No test's name holds '${pattern}'.\n`);
    else await runSuite({ name: 'shared memory is given back', run: () => checkSharedMemory(sharedMemoryBefore) });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
  process.stdout.write(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
  if (total.failed > 0 || started === 0) throw new ExplainedFailure();
}

/** @returns {Suite[]} */
function suitesBefore() {
  return [
    { name: 'house rules', run: async () => fromRules(checkHouse()) },
    { name: 'native core', run: runNativeTests },
    { name: 'GPU kernels', run: runCudaTests },
  ];
}

/** @returns {Suite[]} */
function suitesAfter() {
  return process.env.CI ? [{ name: `a program on Node ${NEWER_NODE}`, run: runOnNewerNode }] : [];
}

/** Every compiled test file that still has a source, and those of the scripts and the benchmarks. @returns {Suite[]} */
function testFiles() {
  const compiled = workspaceFolders().flatMap((folder) => compiledFilesOf(folder)
    .filter(({ file, source }) => file.endsWith('.test.js') && existsSync(source))
    .map(({ file }) => ({ file, name: join(folder, relative(compiledFolders(folder).compiled, file)).replace(/\.test\.js$/, '') })));
  const scripts = filesUnder('scripts', 'bench').filter((file) => file.endsWith('.test.mjs')).map((file) => ({ file, name: file.replace(/\.test\.mjs$/, '') }));
  return [...compiled, ...scripts].map(({ file, name }) => ({ name, run: (folder) => runTestFile({ program: process.execPath, args: [file], folder }) }));
}

/** @returns {TestResult} */
function fromRules(results) {
  const broken = results.filter(({ violations }) => violations.length > 0);
  return {
    passed: results.length - broken.length, failed: broken.length, skipped: 0,
    failures: broken.map(({ rule, violations }) => ({ name: `broken: ${rule}`, detail: violations.join('\n') })),
  };
}

/** @returns {Promise<TestResult>} */
async function checkSharedMemory(before) {
  const orphans = await orphanedSharedMemory(before);
  for (const name of orphans) rmSync(join(SHARED_MEMORY, name), { force: true }); // it would stay until the machine restarts
  return {
    passed: orphans.length === 0 ? 1 : 0, failed: orphans.length === 0 ? 0 : 1, skipped: 0,
    failures: orphans.length === 0 ? [] : [{ name: 'left in /dev/shm', detail: orphans.join('\n') }],
  };
}

/** @param {string} name @param {TestResult} result @param {number} durationMs */
function printResult(name, result, durationMs) {
  const counts = [
    result.failed > 0 && `${result.failed} FAILED`, result.passed > 0 && `${result.passed} passed`, result.skipped > 0 && `${result.skipped} skipped`,
  ].filter(Boolean).join(', ');
  process.stdout.write(`  ${name.padEnd(44)} ${counts.padEnd(24)} ${formatSeconds(durationMs).padStart(8)}\n`);
  for (const note of result.notes ?? []) process.stdout.write(`${indent(note)}\n`);
  for (const failure of result.failures) {
    process.stdout.write(`\n${indent(failure.name)}\n`);
    if (failure.detail.trim()) process.stdout.write(`${indent(shorten(failure.detail), '      ')}\n`);
  }
  if (result.failures.length > 0) process.stdout.write('\n');
}

function shorten(detail) {
  const lines = detail.trimEnd().split('\n');
  return lines.length <= DETAIL_LINES ? lines.join('\n') : [...lines.slice(0, DETAIL_LINES), `… ${lines.length - DETAIL_LINES} more lines`].join('\n');
}
