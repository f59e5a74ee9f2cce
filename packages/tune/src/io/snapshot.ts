/**
 * A snapshot: what the searcher and the scheduler knew at some length of the log, so that an experiment which goes on need not ask them everything once more. It is
 * a shortcut and no truth: one that is missing, broken, or of another log is left aside, and the log is lived through from its beginning.
 */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { ExperimentState } from '../machine/experiment.js';
import { beginsWith, decodeLine, encodeLine, type LogExtent, type ReadLog } from './log.js';

/** Between snapshots the log grows by so many records and by this part, so that all snapshots together cost no more than some times the last. */
const RECORDS_MIN = 1_000;
const GROWTH = 1.25;

/** One line of the file. */
export interface Snapshot {
  /** Changes with what states hold; another version is left aside. */
  readonly version: 1;
  readonly extent: LogExtent;
  readonly state: ExperimentState;
}

/** Whether a log has grown enough since its last snapshot, which was taken of so many records. */
export const isSnapshotDue = (records: number, lastRecords: number): boolean => records >= Math.max(lastRecords + RECORDS_MIN, lastRecords * GROWTH);

/** The snapshot of a log; null: there is none that fits. */
export function readSnapshot(file: string, log: ReadLog): Snapshot | null {
  if (!existsSync(file)) return null;
  const snapshot = decodeLine<Snapshot>(readFileSync(file).subarray(0, -1));
  return snapshot?.version === 1 && beginsWith(log, snapshot.extent) ? snapshot : null;
}

/** Writes it whole or not at all. A disk that is full keeps the old one: the log itself will say so. */
export function writeSnapshot(file: string, snapshot: Snapshot): void {
  const draft = `${file}.draft`;
  try {
    writeFileSync(draft, encodeLine(snapshot));
    renameSync(draft, file);
  } catch {
    rmSync(draft, { force: true });
  }
}
