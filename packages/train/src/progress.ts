/** A training in a terminal: a bar that is drawn over itself, or a line now and then where there is no terminal. Goes to stderr. */
import { drawOn, formatDurationMs, leavesLineOpen, type Drawing, type TerminalStream } from '@muster/base';
import type { StepRecord } from './training.js';

const LINE_INTERVAL_MS = 10_000;
const DEFAULT_COLUMNS = 100;
const BAR_COLUMNS = 20;
/** The share of the time since the last record in the pace that the end is estimated by: it follows within some dozen records, and does not jump. */
const PACE_SHARE = 0.1;

/** What is known beside the last step. */
export interface ProgressFacts {
  readonly skipped: number;
  readonly elapsedMs: number;
  /** Milliseconds until the end; null: unknown. */
  readonly leftMs: number | null;
}

/** `step 1,250 of 4,000  epoch 2  loss 0.0731  accuracy 0.981  3,120 examples/s  scale 65536  2 skipped  1 m 12 s  2 m 38 s left` */
export function statusLine({ step, totalSteps, epoch, loss, metrics, scale, examplesPerSecond }: StepRecord, { skipped, elapsedMs, leftMs }: ProgressFacts): string {
  const parts = [`step ${count(step)}${totalSteps === null ? '' : ` of ${count(totalSteps)}`}`, `epoch ${epoch + 1}`, `loss ${short(loss)}`, ...Object.entries(metrics).map(([name, value]) => `${name} ${short(value)}`)];
  parts.push(`${count(Math.round(examplesPerSecond))} examples/s`);
  if (scale !== 1) parts.push(`scale ${scale}`);
  if (skipped > 0) parts.push(`${skipped} skipped`);
  parts.push(wholeSeconds(elapsedMs));
  if (leftMs !== null && step !== totalSteps) parts.push(`${wholeSeconds(leftMs)} left`);
  return parts.join('  ');
}

/** `━━━━━━━━────────────  40 %  ` */
export function progressBar({ step, totalSteps }: StepRecord): string {
  if (totalSteps === null) return '';
  const share = Math.min(1, step / totalSteps);
  const full = Math.floor(share * BAR_COLUMNS);
  return `${'━'.repeat(full)}${'─'.repeat(BAR_COLUMNS - full)} ${`${Math.floor(share * 100)} %`.padStart(5)}  `;
}

const count = (value: number): string => value.toLocaleString('en');
const short = (value: number): string => String(Number(value.toPrecision(4)));
const wholeSeconds = (durationMs: number): string => formatDurationMs(Math.max(1, Math.round(durationMs / 1000)) * 1000);

/** Shows what a training reports. */
export class TrainingProgress {
  readonly #stream: TerminalStream;
  /** Null without a terminal. */
  readonly #drawing: Drawing | null;
  readonly #startedMs = performance.now();
  #last: StepRecord | null = null;
  #lastMs = performance.now();
  #msPerStep: number | null = null;
  #skipped = 0;
  #shownMs = -Infinity;
  #isShown = false;
  #isOpen = false;
  /** What others have written last did not end its line. */
  #isWithinLine = false;

  constructor(stream: TerminalStream = process.stderr) {
    this.#stream = stream;
    this.#drawing = stream.isTTY ? drawOn(stream, (chunk) => this.#makeWay(chunk)) : null;
  }

  records(records: readonly StepRecord[]): void {
    if (records.length === 0) return;
    const nowMs = performance.now();
    this.#skipped += records.filter(({ isSkipped }) => isSkipped).length;
    const paceMs = (nowMs - this.#lastMs) / records.length;
    if (this.#last !== null) this.#msPerStep = this.#msPerStep === null ? paceMs : this.#msPerStep + PACE_SHARE * (paceMs - this.#msPerStep); // the first began with the workers
    const examplesPerSecond = records.length / records.reduce((sum, record) => sum + 1 / record.examplesPerSecond, 0); // of all: steps have as many examples
    this.#last = { ...records.at(-1)!, examplesPerSecond };
    this.#lastMs = nowMs;
    this.#isShown = false;
    if (this.#stream.isTTY || nowMs - this.#shownMs >= LINE_INTERVAL_MS) this.#show();
  }

  /** Something that a person should read. */
  say(text: string): void {
    this.#stream.write(`${text}\n`);
  }

  close(): void {
    if (this.#last !== null && !this.#isShown) this.#show();
    if (this.#isOpen) this.#drawing?.draw('\n');
    this.#isOpen = false;
    this.#drawing?.leave();
  }

  /** Before anybody else writes to the terminal, the bar goes. */
  #makeWay(chunk: string | Uint8Array): void {
    if (this.#isOpen) this.#drawing?.draw('\r\x1b[2K');
    this.#isOpen = false;
    this.#isWithinLine = leavesLineOpen(chunk);
  }

  #show(): void {
    const record = this.#last!;
    this.#shownMs = performance.now();
    const leftMs = record.totalSteps === null || this.#msPerStep === null ? null : (record.totalSteps - record.step) * this.#msPerStep;
    const line = statusLine(record, { skipped: this.#skipped, elapsedMs: this.#shownMs - this.#startedMs, leftMs });
    this.#isShown = true;
    if (this.#drawing === null) {
      this.#stream.write(`${line}\n`);
      return;
    }
    this.#drawing.draw(`${this.#isWithinLine ? '\n' : '\r\x1b[2K'}${`${progressBar(record)}${line}`.slice(0, (this.#stream.columns ?? DEFAULT_COLUMNS) - 1)}`);
    this.#isOpen = true;
    this.#isWithinLine = false;
  }
}
