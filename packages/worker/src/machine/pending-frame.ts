/** A frame whose turn has not come, or is under way. */
import { ByteReader, OwnerOp } from '@muster/protocol';
import type { CallerLine } from './caller-line.js';

/** Stands in a frame where its reader stands: what is before that has been carried out. */
export class PendingFrame {
  readonly reader: ByteReader;
  /** Its control records were applied ahead of its turn: by then a slot in them may be another task's. */
  isControlApplied = false;

  constructor(readonly line: CallerLine, payload: Uint8Array) {
    this.reader = new ByteReader().reset(payload);
  }

  get isRead(): boolean {
    return this.reader.position >= this.reader.end;
  }

  /** Visits the records that have not been read; the reader given stands behind a record's op. @throws MusterError PROTOCOL */
  forEachLeft(visit: (op: number, reader: ByteReader) => void): void {
    const reader = new ByteReader().reset(this.reader.buffer);
    for (reader.position = this.reader.position; reader.position < reader.end;) {
      const end = reader.u32() + reader.position;
      visit(reader.u8(), reader);
      reader.position = end;
    }
  }

  /** Whether a task or call of this slot has not been read. */
  holds(slot: number): boolean {
    let isFound = false;
    this.forEachLeft((op, reader) => { if (isStart(op)) isFound ||= reader.u32() === slot; });
    return isFound;
  }

  /** Nothing of it is to be carried out any more. */
  drop(): void {
    this.reader.position = this.reader.end;
  }
}

/** Whether a record starts a task or a call. */
export const isStart = (op: number): boolean => op === OwnerOp.task || op === OwnerOp.call;
