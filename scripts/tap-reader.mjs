/**
 * Reads what a test file prints in the Test Anything Protocol, as node-tap writes it, and counts tests. A test is an innermost named
 * block, however many assertions it makes; an assertion that stands in no block is a test too. A test all of whose assertions are
 * skipped is skipped.
 */

const POINT = /^(not )?ok\b(?: \d+)?(?: -)? ?(.*)$/;
const TIMING = / # time=[\d.]+m?s$/;
const DIRECTIVE = /(?:^|\s)# (?:skip|todo)\b.*$/i;

/** @typedef {{ name: string, detail: string }} Failure */

/** One block that is open: the file itself, or a subtest. */
class Block {
  name;
  points = 0;
  skippedPoints = 0;
  hasBlocks = false;
  /** @type {Failure[]} failed assertions, until it is known whether this block is a test */
  failures = [];

  constructor(name) {
    this.name = name;
  }
}

export class TapReader {
  passed = 0;
  failed = 0;
  skipped = 0;
  /** @type {Failure[]} */
  failures = [];
  /** What was printed and is no TAP, for people. */
  onOtherLine = (_line) => {};
  #blocks = [new Block('')];
  /** The failed assertion whose diagnostics follow, and the indentation of that text. */
  #failure = undefined;
  #diagnostics = undefined;

  /** @param {string} line without its end */
  line(line) {
    const indent = line.length - line.trimStart().length;
    const text = line.slice(indent);
    if (this.#readDiagnostics(line, indent, text)) return;
    const depth = Math.floor(indent / 4);
    if (indent % 4 === 0 && depth < this.#blocks.length) {
      if (text.startsWith('# Subtest: ')) return this.#open(depth, text.slice('# Subtest: '.length));
      const point = POINT.exec(text);
      if (point) return this.#point(depth, { ok: !point[1], text: point[2] });
      if (text.startsWith('Bail out!')) return this.#fail(text);
      if (/^(1\.\.\d+|TAP version \d+|#)/.test(text)) return;
    }
    if (text) this.onOtherLine(line);
  }

  /** The output has ended. */
  end() {
    if (this.#blocks.length > 1) this.#fail(`${this.#path()}: the output ended inside of it`);
    this.#blocks.length = 1;
  }

  #readDiagnostics(line, indent, text) {
    if (this.#diagnostics !== undefined) {
      if (indent === this.#diagnostics && text === '...') this.#diagnostics = undefined;
      else if (this.#failure) this.#failure.detail += `${line.slice(this.#diagnostics)}\n`;
      return true;
    }
    if (text !== '---' || indent % 4 !== 2) return false;
    this.#diagnostics = indent;
    return true;
  }

  #open(depth, name) {
    this.#blocks.length = depth + 1;
    this.#blocks[depth].hasBlocks = true;
    this.#blocks.push(new Block(name));
  }

  #point(depth, { ok, text }) {
    const name = text.replace(TIMING, '');
    const isSkipped = DIRECTIVE.test(name);
    if (this.#blocks.length > depth + 1) return this.#close(depth, ok, isSkipped);
    this.#failure = undefined;
    const block = this.#blocks[depth];
    block.points++;
    if (isSkipped) {
      block.skippedPoints++;
      if (depth === 0) this.skipped++;
    } else if (!ok) {
      if (depth === 0) return this.#fail(name);
      this.#failure = { name: `${this.#path()}: ${name}`, detail: '' };
      block.failures.push(this.#failure);
    } else if (depth === 0) {
      this.passed++;
    }
  }

  /** The result of the innermost block. */
  #close(depth, ok, isSkipped) {
    const path = this.#path();
    const block = this.#blocks.pop();
    this.#blocks.length = depth + 1;
    this.#failure = undefined;
    if (block.failures.length > 0) {
      this.failed++;
      this.failures.push(...block.failures);
    } else if (block.hasBlocks) {
      this.skipped += block.skippedPoints;
    } else if (isSkipped || (block.points > 0 && block.skippedPoints === block.points)) {
      this.skipped++;
    } else if (ok) {
      this.passed++;
    } else {
      this.#fail(path);
    }
  }

  #fail(name) {
    this.failed++;
    this.#failure = { name, detail: '' };
    this.failures.push(this.#failure);
  }

  #path() {
    return this.#blocks.slice(1).map((block) => block.name).join(' > ');
  }
}
