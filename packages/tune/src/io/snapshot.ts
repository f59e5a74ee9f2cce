/**
 * A snapshot: what the searcher and the scheduler knew at some length of the log, so that an experiment which goes on need not ask them everything once more. It is
 * a shortcut and no truth: one that is missing, broken, or of another log is left aside, and the log is lived through from its beginning.
 */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { ExperimentState } from '../machine/experiment.js';
import { beginsWith, decodeLine, encodeLine, type LogExtent } from './log.js';

/** What was done since the last snapshot is what going on asks once more: about so long it takes at most. */
const INTERVAL_MS = 10_000;
/** Of the driver's time no more than one part of so many goes into snapshots. */
const TIME_SHARE = 50;

/** One line of the file. */
export interface Snapshot {
  /** Changes with what states hold; another version is left aside. */
  readonly version: 1;
  readonly extent: LogExtent;
  readonly state: ExperimentState;
}

/** The snapshot of a log; null: there is none that fits. */
export function readSnapshot(file: string, log: { readonly file: string; readonly extent: LogExtent }): Snapshot | null {
  if (!existsSync(file)) return null;
  const snapshot = decodeLine<Snapshot>(readFileSync(file));
  return snapshot?.version === 1 && snapshot.extent.bytes <= log.extent.bytes && beginsWith(log.file, snapshot.extent) ? snapshot : null;
}

/** Writes snapshots of a log that grows, now and then. */
export class SnapshotWriter {
  readonly #file: string;
  readonly #nowMs: () => number;
  #dueAtMs: number;

  constructor(file: string, nowMs: () => number) {
    this.#file = file;
    this.#nowMs = nowMs;
    this.#dueAtMs = nowMs() + INTERVAL_MS;
  }

  /** Keeps what is known at this length of the log, if it is time for that. `stateOf`: null where there is no state to keep. */
  keep(extent: LogExtent, stateOf: () => ExperimentState | null): void {
    const startMs = this.#nowMs();
    if (startMs < this.#dueAtMs) return;
    const state = stateOf();
    if (state !== null) write(this.#file, { version: 1, extent, state });
    const endMs = this.#nowMs();
    this.#dueAtMs = endMs + Math.max(INTERVAL_MS, (endMs - startMs) * TIME_SHARE);
  }
}

/** Whole or not at all. On a disk that is full the old one stays: the log itself will say so. */
function write(file: string, snapshot: Snapshot): void {
  const draft = `${file}.draft`;
  try {
    writeFileSync(draft, encodeLine(snapshot));
    renameSync(draft, file);
  } catch {
    rmSync(draft, { force: true });
  }
}
