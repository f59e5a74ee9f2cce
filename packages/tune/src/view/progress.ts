/**
 * Shows an experiment in a terminal while it runs: a table that is drawn over itself, or plain lines where there is no terminal. What else this process writes to the
 * terminal, as the output of trials, passes above the table.
 */
import { drawOn, leavesLineOpen, type Drawing, type TerminalStream } from '@muster/base';
import type { ExperimentLogger, ExperimentView } from '../logger.js';
import type { LogRecord } from '../machine/records.js';
import type { TrialRow } from '../machine/trial-table.js';
import { statusLine, trialLines } from './summary.js';

/** Fast enough to look alive. */
const REDRAW_INTERVAL_MS = 250;
/** Without a terminal: how often there is a line, when nothing better is found. */
const LINE_INTERVAL_MS = 10_000;
const ROWS_MAX = 12;
/** The status, the table's head, the latest failure, and the line below, where the cursor is. */
const OTHER_LINES = 4;
const DEFAULT_COLUMNS = 100;

/** The live table. Goes to stderr, so that a program's own output stays clean. */
export function progress({ stream = process.stderr }: { readonly stream?: TerminalStream } = {}): ExperimentLogger {
  return new Progress(stream);
}

class Progress implements ExperimentLogger {
  readonly name = 'progress';
  readonly #stream: TerminalStream;
  #view: ExperimentView | null = null;
  #timer: NodeJS.Timeout | null = null;
  #startedMs = 0;
  #elapsedBeforeMs = 0;
  #drawnLines = 0;
  /** What others have written last did not end its line. */
  #isWithinLine = false;
  #drawing: Drawing | null = null;
  #lastLine = '';
  #best: TrialRow | null = null;
  #failure = '';

  constructor(stream: TerminalStream) {
    this.#stream = stream;
  }

  begin(view: ExperimentView): void {
    this.#view = view;
    this.#startedMs = performance.now();
    this.#elapsedBeforeMs = view.table.lastAtMs;
    this.#best = view.table.best;
    if (view.table.begun > 0) {
      this.#lastLine = this.#status();
      this.#stream.write(`${this.#lastLine} (resumed)\n`);
    }
    this.#timer = setInterval(() => this.#show(), this.#stream.isTTY ? REDRAW_INTERVAL_MS : LINE_INTERVAL_MS);
    this.#timer.unref();
    if (this.#stream.isTTY) this.#drawing = drawOn(this.#stream, (chunk) => this.#makeWay(chunk));
  }

  record(record: LogRecord): void {
    const { table } = this.#view!;
    if (record.kind !== 'end') return;
    if (record.status === 'failed') this.#failure = `trial ${record.id} failed: ${record.reason.split('\n', 1)[0]}`;
    if (this.#stream.isTTY) return;
    if (record.status === 'failed' && table.failed === 1) this.#stream.write(`${this.#failure}\n`);
    if (table.best !== this.#best) {
      this.#best = table.best;
      this.#show();
    }
  }

  async close(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    this.#show();
    this.#drawing?.leave();
  }

  #show(): void {
    if (!this.#stream.isTTY) {
      const line = this.#status();
      if (line !== this.#lastLine) this.#stream.write(`${line}\n`);
      this.#lastLine = line;
      return;
    }
    const columnsMax = this.#stream.columns || DEFAULT_COLUMNS; // 0: a terminal that does not know its size
    const rows = this.#stream.rows || Infinity;
    const { begin, table, trials } = this.#view!;
    const rowsMax = Math.max(1, Math.min(ROWS_MAX, rows - OTHER_LINES));
    const lines = [this.#status(), ...trialLines({ begin, table, trials, elapsedMs: this.#elapsedMs(), rowsMax, columnsMax }), ...(this.#failure === '' ? [] : [this.#failure])];
    this.#drawing?.draw(`${this.#isWithinLine ? '\n' : this.#toTop()}${lines.map((line) => `\x1b[2K${line.slice(0, columnsMax)}\n`).join('')}\x1b[J`);
    this.#drawnLines = lines.length;
    this.#isWithinLine = false;
  }

  #toTop(): string {
    return this.#drawnLines > 0 ? `\x1b[${this.#drawnLines}A` : '';
  }

  /** Before anybody else writes to the terminal, the table goes. */
  #makeWay(chunk: string | Uint8Array): void {
    if (this.#drawnLines > 0) this.#drawing?.draw(`${this.#toTop()}\x1b[J`);
    this.#drawnLines = 0;
    this.#isWithinLine = leavesLineOpen(chunk);
  }

  #elapsedMs(): number {
    return this.#elapsedBeforeMs + performance.now() - this.#startedMs;
  }

  #status(): string {
    const { begin, table, trials } = this.#view!;
    return statusLine({ begin, table, trials, elapsedMs: this.#elapsedMs() });
  }
}
