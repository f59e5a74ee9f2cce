/** Shows an experiment in a terminal while it runs: a table that is drawn over itself, or plain lines where there is no terminal. */
import type { WriteStream } from 'node:tty';
import type { ExperimentLogger, ExperimentView } from '../logger.js';
import type { LogRecord } from '../machine/records.js';
import type { TrialRow } from '../machine/trial-table.js';
import { statusLine, trialLines } from './summary.js';

/** Fast enough to look alive. */
const REDRAW_INTERVAL_MS = 250;
/** Without a terminal: how often there is a line, when nothing better is found. */
const LINE_INTERVAL_MS = 10_000;
const ROWS_MAX = 12;
const DEFAULT_COLUMNS = 100;

/** The live table. Goes to stderr, so that a program's own output stays clean. */
export function progress({ stream = process.stderr }: { readonly stream?: NodeJS.WritableStream & Partial<Pick<WriteStream, 'isTTY' | 'columns'>> } = {}): ExperimentLogger {
  return new Progress(stream);
}

class Progress implements ExperimentLogger {
  readonly name = 'progress';
  readonly #stream: NodeJS.WritableStream & Partial<Pick<WriteStream, 'isTTY' | 'columns'>>;
  #view: ExperimentView | null = null;
  #timer: NodeJS.Timeout | null = null;
  #startedMs = 0;
  #elapsedBeforeMs = 0;
  #drawnLines = 0;
  #lastLine = '';
  #best: TrialRow | null = null;

  constructor(stream: NodeJS.WritableStream & Partial<Pick<WriteStream, 'isTTY' | 'columns'>>) {
    this.#stream = stream;
  }

  begin(view: ExperimentView): void {
    this.#view = view;
    this.#startedMs = performance.now();
    this.#elapsedBeforeMs = view.table.lastAtMs;
    this.#best = view.table.best;
    if (view.table.begun > 0) this.#stream.write(`${this.#status()} (resumed)\n`);
    this.#timer = setInterval(() => this.#show(), this.#stream.isTTY ? REDRAW_INTERVAL_MS : LINE_INTERVAL_MS);
    this.#timer.unref();
  }

  record(record: LogRecord): void {
    const { table } = this.#view!;
    if (this.#stream.isTTY || record.kind !== 'end') return;
    if (record.status === 'failed' && table.failed === 1) this.#stream.write(`trial ${record.id} failed: ${record.reason.split('\n', 1)[0]}\n`);
    if (table.best !== this.#best) {
      this.#best = table.best;
      this.#show();
    }
  }

  async close(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    this.#show();
  }

  #show(): void {
    if (!this.#stream.isTTY) {
      const line = this.#status();
      if (line !== this.#lastLine) this.#stream.write(`${line}\n`);
      this.#lastLine = line;
      return;
    }
    const columnsMax = this.#stream.columns ?? DEFAULT_COLUMNS;
    const { begin, table, trials } = this.#view!;
    const lines = [this.#status().slice(0, columnsMax), ...trialLines({ begin, table, trials, elapsedMs: this.#elapsedMs(), rowsMax: ROWS_MAX, columnsMax })];
    const toTop = this.#drawnLines > 0 ? `\x1b[${this.#drawnLines}A` : '';
    this.#stream.write(`${toTop}${lines.map((line) => `\x1b[2K${line}\n`).join('')}\x1b[J`);
    this.#drawnLines = lines.length;
  }

  #elapsedMs(): number {
    return this.#elapsedBeforeMs + performance.now() - this.#startedMs;
  }

  #status(): string {
    const { begin, table, trials } = this.#view!;
    return statusLine({ begin, table, trials, elapsedMs: this.#elapsedMs() });
  }
}
