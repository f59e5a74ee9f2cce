/** A training in a terminal: one line that is drawn over itself, or a line now and then where there is no terminal. Goes to stderr. */
import type { WriteStream } from 'node:tty';
import { formatDurationMs } from '@muster/base';
import type { StepRecord } from './training.js';

type Stream = NodeJS.WritableStream & Partial<Pick<WriteStream, 'isTTY' | 'columns'>>;

const LINE_INTERVAL_MS = 10_000;
const DEFAULT_COLUMNS = 100;

/** `step 1,250  epoch 2  loss 0.0731  accuracy 0.981  3,120 examples/s  scale 65536  2 skipped  1m 12s` */
export function statusLine({ step, epoch, loss, metrics, scale, examplesPerSecond }: StepRecord, { skipped, elapsedMs }: { readonly skipped: number; readonly elapsedMs: number }): string {
  const parts = [`step ${step.toLocaleString('en')}`, `epoch ${epoch + 1}`, `loss ${short(loss)}`, ...Object.entries(metrics).map(([name, value]) => `${name} ${short(value)}`)];
  parts.push(`${Math.round(examplesPerSecond).toLocaleString('en')} examples/s`);
  if (scale !== 1) parts.push(`scale ${scale}`);
  if (skipped > 0) parts.push(`${skipped} skipped`);
  return [...parts, formatDurationMs(Math.max(1, Math.round(elapsedMs / 1000)) * 1000)].join('  ');
}

const short = (value: number): string => String(Number(value.toPrecision(4)));

/** Shows what a training reports. */
export class TrainingProgress {
  readonly #stream: Stream;
  readonly #startedMs = performance.now();
  #last: StepRecord | null = null;
  #skipped = 0;
  #shownMs = -Infinity;
  #isOpen = false;

  constructor(stream: Stream = process.stderr) {
    this.#stream = stream;
  }

  records(records: readonly StepRecord[]): void {
    if (records.length === 0) return;
    this.#skipped += records.filter(({ isSkipped }) => isSkipped).length;
    this.#last = records.at(-1)!;
    if (this.#stream.isTTY || performance.now() - this.#shownMs >= LINE_INTERVAL_MS) this.#show();
  }

  /** Something that a person should read. */
  say(text: string): void {
    if (this.#isOpen) this.#stream.write('\r\x1b[2K');
    this.#isOpen = false;
    this.#stream.write(`${text}\n`);
  }

  close(): void {
    if (this.#last !== null) this.#show();
    if (this.#isOpen) this.#stream.write('\n');
    this.#isOpen = false;
  }

  #show(): void {
    const line = statusLine(this.#last!, { skipped: this.#skipped, elapsedMs: performance.now() - this.#startedMs });
    this.#shownMs = performance.now();
    if (!this.#stream.isTTY) {
      this.#stream.write(`${line}\n`);
      return;
    }
    this.#stream.write(`\r\x1b[2K${line.slice(0, (this.#stream.columns ?? DEFAULT_COLUMNS) - 1)}`);
    this.#isOpen = true;
  }
}
