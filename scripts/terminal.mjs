/** What a person sees of a long run: one calm line for each step, with what became of it. */
import { formatSeconds } from './time.mjs';

const LABEL_COLUMNS = 12;

/** A failure that has been explained to the person already: the run ends, without a stack. */
export class ExplainedFailure extends Error {}

/** A command that failed: what it was, the end of what it printed, and what to do next. */
export class StepFailure extends Error {
  /** @param {{ what: string, output?: string, next: string }} failure */
  constructor({ what, output = '', next }) {
    super(what);
    this.output = output;
    this.next = next;
  }
}

/**
 * Runs one step and prints its line. The work returns a note such as 'unchanged', or nothing: then its duration stands there.
 * @param {string} label
 * @param {() => Promise<string | void>} work
 */
export async function step(label, work) {
  const startedAt = performance.now();
  const elapsed = () => formatSeconds(performance.now() - startedAt);
  const name = `  ${label.padEnd(LABEL_COLUMNS)}`;
  const live = process.stdout.isTTY ? setInterval(() => process.stdout.write(`\r${name}… ${elapsed()}`), 1000) : undefined;
  const finish = (text) => {
    clearInterval(live);
    process.stdout.write(`${process.stdout.isTTY ? '\r\x1b[K' : ''}${name}${text}\n`);
  };
  try {
    finish((await work()) ?? elapsed());
  } catch (error) {
    finish(`failed after ${elapsed()}`);
    if (!(error instanceof StepFailure)) throw error;
    explain(error);
    throw new ExplainedFailure();
  }
}

/** @param {StepFailure} failure */
function explain(failure) {
  process.stdout.write(`\n${failure.message}\n`);
  if (failure.output) process.stdout.write(`${indent(failure.output)}\n`);
  process.stdout.write(`\nNext: ${failure.next}\n`);
}

/** @param {string} text @param {string} [margin] */
export function indent(text, margin = '    ') {
  return text.trimEnd().split('\n').map((line) => (line ? margin + line : line)).join('\n');
}
