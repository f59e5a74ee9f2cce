/** An experiment's folder: the lock, the log with its snapshot, and the checkpoints; and reading one that others write. */
import { makeError, makeFolder } from '@muster/base';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExperimentState } from '../machine/experiment.js';
import { TrialTable } from '../machine/trial-table.js';
import type { BeginRecord, LogRecord } from '../machine/records.js';
import { Checkpoints } from './checkpoints.js';
import { FolderLock } from './lock.js';
import { asStorageError, checkLog, LogWriter, recordsOf, storageError } from './log.js';
import { readSnapshot, SnapshotWriter, type Snapshot } from './snapshot.js';

const LOG_NAME = 'experiment.log';
const SNAPSHOT_NAME = 'experiment.snapshot';

/** A folder that this process may write to. */
export interface OpenFolder {
  /** What happened before, the log's first line included; empty: nothing. Read from the disk each time it is gone through, so it costs no memory. */
  readonly earlier: Iterable<LogRecord>;
  readonly checkpoints: Checkpoints;
  /** Of some length of what happened before; null: there is none. */
  readonly snapshot: Snapshot | null;
  append(record: LogRecord): void;
  /** After a record was appended and taken in: keeps what is known then, if it is time for that. */
  keepState(stateOf: () => ExperimentState | null): void;
  /** Makes the disk keep everything, and lets others in. */
  close(): void;
}

/** How a folder is opened. */
export interface FolderOptions {
  /** An experiment may be there. */
  readonly resume: boolean;
  readonly warn: (text: string) => void;
  /** The clock by which snapshots are taken. */
  readonly nowMs?: () => number;
}

/**
 * Opens a folder, making it where it is missing.
 * @throws EXPERIMENT_IN_USE, EXPERIMENT_EXISTS, EXPERIMENT_DAMAGED, STORAGE
 */
export function openFolder(folder: string, { resume, warn, nowMs = () => performance.now() }: FolderOptions): OpenFolder {
  try {
    makeFolder(folder);
  } catch (cause) {
    throw storageError(folder, cause);
  }
  const lock = FolderLock.take(folder);
  try {
    const file = join(folder, LOG_NAME);
    const { extent, brokenBytes } = checkLog(file);
    const earlier = recordsOf(file, extent);
    if (extent.records > 0 && !resume) throw makeError('EXPERIMENT_EXISTS', { folder, trials: `${countOf(earlier, 'trial')} trials` });
    if (brokenBytes > 0) warn(`the last line of ${file} is broken, as a power cut or a full disk leaves it: ${brokenBytes} bytes are cut off`);
    const checkpoints = new Checkpoints(folder);
    const snapshotFile = join(folder, SNAPSHOT_NAME);
    const snapshots = new SnapshotWriter(snapshotFile, nowMs);
    const writer = new LogWriter(file, extent);
    return {
      earlier, checkpoints, snapshot: readSnapshot(snapshotFile, { file, extent }), append: (record) => writer.append(record),
      keepState: (stateOf) => snapshots.keep(writer.extent, stateOf),
      close: () => {
        try {
          writer.close();
        } finally {
          lock.release();
        }
      },
    };
  } catch (error) {
    lock.release();
    throw asStorageError(folder, error);
  }
}

function countOf(records: Iterable<LogRecord>, wanted: LogRecord['kind']): number {
  let count = 0;
  for (const { kind } of records) if (kind === wanted) count++;
  return count;
}

/** Keeps nothing: checkpoints lie in a folder that goes when it is closed. @throws STORAGE */
export function temporaryFolder(): OpenFolder {
  const folder = makeTemporary(join(tmpdir(), 'muster-tune-'));
  return { earlier: [], checkpoints: new Checkpoints(folder), snapshot: null, append: () => {}, keepState: () => {}, close: () => rmSync(folder, { recursive: true, force: true }) };
}

function makeTemporary(prefix: string): string {
  try {
    return mkdtempSync(prefix);
  } catch (cause) {
    throw asStorageError(prefix, cause);
  }
}

/** An experiment as its log tells of it. */
export interface ReadExperiment {
  readonly begin: BeginRecord;
  readonly table: TrialTable;
  /** All that the table tells of, as it happened. Read from the disk each time it is gone through. */
  readonly records: Iterable<LogRecord>;
  /** Why it is over; null: it runs, or was broken off. */
  readonly finished: string | null;
}

/**
 * Reads an experiment, also while it runs.
 * @throws INVALID_ARGUMENT where the folder holds none, EXPERIMENT_DAMAGED
 */
export function readExperiment(folder: string): ReadExperiment {
  const file = join(folder, LOG_NAME);
  const records = recordsOf(file, checkLog(file).extent);
  const [begin] = records;
  if (begin?.kind !== 'begin') throw makeError('INVALID_ARGUMENT', { what: `the folder ${folder}`, want: `that of an experiment: ${existsSync(file) ? `${file} is empty` : `it has no ${LOG_NAME}`}` });
  const table = new TrialTable(begin.objectives);
  let finished: string | null = null;
  for (const record of records) {
    table.apply(record);
    finished = record.kind === 'finish' ? record.reason : null;
  }
  return { begin, table, records, finished };
}
