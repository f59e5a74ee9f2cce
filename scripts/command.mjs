/** Running other programs: quietly, with the end of their output kept for when they fail. */
import { spawn } from 'node:child_process';
import { StepFailure } from './terminal.mjs';

const TAIL_LINES = 40;

/** Keeps the last lines of what it is fed. */
export class Tail {
  #text = '';

  /** @param {string} text */
  add(text) {
    this.#text = (this.#text + text).slice(-64 * 1024);
  }

  toString() {
    return this.#text.trimEnd().split('\n').slice(-TAIL_LINES).join('\n');
  }
}

/**
 * Runs a command to its end and returns its output. Prints nothing.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, next?: string }} [options] `next`: what to do when it fails
 * @throws StepFailure
 */
export function runQuietly(command, args, { cwd, env, next = 'correct what it complains about and run this again.' } = {}) {
  return new Promise((resolve, reject) => {
    const tail = new Tail();
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.setEncoding('utf8').on('data', (text) => tail.add(text));
    child.stderr.setEncoding('utf8').on('data', (text) => tail.add(text));
    const name = command === process.execPath ? 'node' : command;
    const fail = (why) => reject(new StepFailure({ what: `${[name, ...args].join(' ')} ${why}`, output: tail.toString(), next }));
    child.once('error', (error) => fail(`did not start: ${error.message}`));
    child.once('close', (code, signal) => {
      if (code === 0) resolve(tail.toString());
      else fail(signal ? `was ended by ${signal}` : `exited with code ${code}`);
    });
  });
}
