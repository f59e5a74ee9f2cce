/** Runs one program of tests in a world of its own: process group, home and temp folder, time limit; then looks at what it left behind. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Tail } from './command.mjs';
import { endMarkedProcesses, filesLeft, killAll, processesMarked } from './leftovers.mjs';
import { TapReader } from './tap-reader.mjs';

/** A file that needs longer hangs, also on a machine that is busy with something else. */
const TIME_LIMIT_MS = 300_000;
const MARK = 'MUSTER_TEST';

/** @typedef {import('./tap-reader.mjs').Failure} Failure */
/** @typedef {{ passed: number, failed: number, skipped: number, failures: Failure[], notes?: string[] }} TestResult */

/** The running files' groups, for when the whole run is interrupted. @type {Set<TestFile>} */
const running = new Set();

/** Ends everything that runs. */
export function interruptTestFiles() {
  for (const file of running) file.kill();
}

class TestFile {
  #mark;
  #child;

  constructor({ program, args = [], folder, environment }) {
    const home = join(folder, 'home');
    mkdirSync(home, { recursive: true, mode: 0o700 });
    this.#mark = `${MARK}=${folder}`;
    const env = { ...withoutMuster(process.env), TMPDIR: folder, MUSTER_HOME: home, [MARK]: folder, NO_COLOR: '1', TAP_TIMEOUT: String(TIME_LIMIT_MS / 1000 - 5), ...environment };
    this.#child = spawn(program, args, { detached: true, stdio: ['ignore', 'pipe', 'pipe'], env });
    this.output = { stdout: this.#child.stdout, stderr: this.#child.stderr };
    this.ended = new Promise((resolve) => {
      this.#child.once('error', (error) => resolve(`did not start: ${error.message}`));
      this.#child.once('exit', (code, signal) => resolve(signal ? `was ended by ${signal}` : code === 0 ? '' : `exited with code ${code}`));
    });
    running.add(this);
    void this.ended.then(() => running.delete(this));
  }

  kill() {
    if (this.#child.pid !== undefined) killAll([{ pid: -this.#child.pid, command: '' }]);
    killAll(processesMarked(this.#mark));
  }

  /** What still ran after the file's own process had ended. It does not any more. */
  endLeftovers() {
    return endMarkedProcesses(this.#mark);
  }
}

/**
 * @param {{ program: string, args?: readonly string[], folder: string, environment?: NodeJS.ProcessEnv }} options `folder`: made for it, removed after it
 * @returns {Promise<TestResult>}
 */
export async function runTestFile(options) {
  const reader = new TapReader();
  const printed = new Tail();
  reader.onOtherLine = (line) => printed.add(`${line}\n`);
  const file = new TestFile(options);
  let isLate = false;
  const limit = setTimeout(() => {
    isLate = true;
    file.kill();
  }, TIME_LIMIT_MS);
  const lines = createInterface({ input: file.output.stdout }).on('line', (line) => reader.line(line));
  const allRead = once(lines, 'close');
  file.output.stderr.setEncoding('utf8').on('data', (text) => printed.add(text));
  const end = await file.ended;
  clearTimeout(limit);
  const left = await file.endLeftovers(); // before the output is awaited: they may hold it open
  await allRead;
  reader.end();

  const failures = [...reader.failures];
  let { failed } = reader;
  const fail = (name, detail = '') => {
    failed++;
    failures.push({ name, detail });
  };
  if (isLate) fail(`took longer than ${TIME_LIMIT_MS / 1000} s and was killed with all of its processes`);
  else if (end && failed === 0) fail(end);
  else if (reader.passed + reader.failed + reader.skipped === 0) fail('ran no tests');
  if (left.length > 0 && !isLate) fail('left processes running', left.map(({ pid, command }) => `${pid} ${command}`).join('\n'));
  const files = isLate ? [] : filesLeft(options.folder);
  if (files.length > 0) fail('left files behind', files.join('\n'));
  rmSync(options.folder, { recursive: true, force: true });
  const tail = printed.toString();
  if (failed > 0 && tail.trim()) failures.push({ name: 'it also printed', detail: tail });
  return { passed: reader.passed, failed, skipped: reader.skipped, failures };
}

function withoutMuster(environment) {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith('MUSTER_')));
}
