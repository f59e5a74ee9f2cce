/**
 * Turns the bytes of one output stream into lines, and takes out the control lines by which a worker says which task or actor
 * prints from there on.
 */
import { StringDecoder } from 'node:string_decoder';

/** Lines that one task or actor printed in a row. */
export interface OutputSpan {
  /** Of the task or actor; empty when not known. */
  readonly name: string;
  readonly lines: string[];
}

/** Longer lines are broken: a program that prints gigabytes without a newline must not fill memory. */
export const LINE_MAX_LENGTH = 64 * 1024;

const CONTROL_PREFIX = '\u0001muster-name:';

/** One stream's state between its pieces. */
export class LineSplitter {
  readonly #decoder = new StringDecoder('utf8');
  #partial = '';
  #name = '';

  /** The lines that the bytes complete. */
  push(bytes: Uint8Array): OutputSpan[] {
    return this.#split(this.#decoder.write(bytes));
  }

  /** The rest as a line, when the stream has ended or nobody waits for more of it. */
  end(): OutputSpan[] {
    const rest = this.#partial + this.#decoder.end();
    this.#partial = '';
    return rest ? this.#split(`${rest}\n`) : [];
  }

  #split(text: string): OutputSpan[] {
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop()!;
    while (this.#partial.length > LINE_MAX_LENGTH) {
      lines.push(this.#partial.slice(0, LINE_MAX_LENGTH));
      this.#partial = this.#partial.slice(LINE_MAX_LENGTH);
    }
    const spans: OutputSpan[] = [];
    for (const line of lines) this.#take(line, spans);
    return spans;
  }

  #take(line: string, spans: OutputSpan[]): void {
    // A control line may follow text that its task left without a newline.
    const controlAt = line.indexOf(CONTROL_PREFIX);
    const text = controlAt < 0 ? line : line.slice(0, controlAt);
    if (controlAt !== 0) {
      let span = spans.at(-1);
      if (!span || span.name !== this.#name) spans.push((span = { name: this.#name, lines: [] }));
      for (let at = 0; at === 0 || at < text.length; at += LINE_MAX_LENGTH) span.lines.push(text.slice(at, at + LINE_MAX_LENGTH));
    }
    if (controlAt >= 0) this.#name = line.slice(controlAt + CONTROL_PREFIX.length);
  }
}
