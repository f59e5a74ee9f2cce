/** What tasks and calls come to, as records to their callers. */
import { WorkerOp, writePrimitive } from '@muster/protocol';
import type { ExecutorPorts, Receiver } from './ports.js';
import type { Running } from './running.js';

export class Answers {
  constructor(readonly ports: ExecutorPorts) {}

  /** Writes a value, in place or by way of shared memory, and holds the references in it until the caller has counted them. `index` is of those of a generator. */
  write(running: Running, op: number, value: unknown, { done, failed }: Receiver<void>, index = -1): void {
    if (this.writePrimitive(running, op, value, index)) return done();
    this.ports.encode(running, value, {
      done: ({ value: encoded, contained }) => {
        const { line, slot } = running;
        if (contained.length > 0 && line.isOpen) { // of a closed one nobody would count them
          this.ports.holdRefs(contained);
          line.escrow.add(slot, { index: Math.max(0, index), refs: contained });
        }
        line.compositeRecord(op, slot, encoded, index);
        done();
      },
      failed,
    });
  }

  /** Writes a primitive; false, and nothing written, for anything else. */
  writePrimitive({ line: { writer }, slot }: Running, op: number, value: unknown, index = -1): boolean {
    const at = writer.beginRecord(op);
    writer.u32(slot);
    if (index >= 0) writer.u32(index);
    if (writePrimitive(writer, value)) {
      writer.endRecord(at);
      return true;
    }
    writer.position = at;
    return false;
  }

  /** A preempted task that gives up has not failed: it goes back to its owner, to run again. */
  writeError({ line, slot, fn, preemption }: Running, error: unknown): void {
    if (preemption !== null && fn !== null) line.slotRecord(WorkerOp.returned, slot);
    else line.compositeRecord(WorkerOp.error, slot, this.ports.encodeThrown(error));
  }
}
