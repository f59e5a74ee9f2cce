/** A queue of tasks that the same workers may run: those of one demand, or the calls of one actor. */
import type { Line } from './line.js';
import { SlotRing } from './slot-ring.js';

export abstract class SlotQueue {
  readonly ring = new SlotRing();
  readonly lines: Line[] = [];
  /** In the owner's list of queues to pump at the end of this turn. */
  dirty = false;

  /** Sends what its lines may take. */
  abstract pump(nowMs: number): void;
}
