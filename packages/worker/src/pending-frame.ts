/** Frames whose turn has not come. */
import { ByteReader, OwnerOp } from '@muster/protocol';
import type { CallerLine } from './caller-line.js';

/** A frame that arrived, read up to `position`. */
export interface PendingFrame {
  readonly line: CallerLine;
  readonly payload: Uint8Array;
  position: number;
}

/** The slots of the tasks in the unread part of a frame. */
export function taskSlots(frame: PendingFrame): number[] {
  const slots: number[] = [];
  const reader = new ByteReader().reset(frame.payload);
  for (reader.position = frame.position; reader.position < reader.end;) {
    const end = reader.u32() + reader.position;
    const op = reader.u8();
    if (op === OwnerOp.task || op === OwnerOp.call) slots.push(reader.u32());
    reader.position = end;
  }
  return slots;
}
