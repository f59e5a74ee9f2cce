/**
 * How many tasks each worker has begun on its lease, and how many it had begun when its caller's line broke, in shared memory: the worker counts there
 * before each task, and the daemon reads the counts when the worker has died. So the owner knows exactly which of the tasks that the worker held may have run.
 */
import type { WorkerProgress } from '@muster/base';
import { SEGMENT_BYTES, type Arena } from '@muster/native';

/** A cache line each, so that workers do not slow each other. */
const CELL_BYTES = 64;
const CELLS = SEGMENT_BYTES / CELL_BYTES;

/** A count for each living worker. */
export class ProgressBoard {
  /** Resolves when its memory is there, before which nothing may be taken. Rejects with an ArenaError, ENOSPC. */
  readonly ready: Promise<void>;
  readonly #arena: Arena;
  readonly #offset: number;
  readonly #offsets = new Map<string, number>();
  readonly #free: number[] = [];
  readonly #cell = new Float64Array(2);
  #used = 0;

  /** The segment of the arena that starts at `offset` is the board's alone. */
  constructor(arena: Arena, offset: number) {
    this.#arena = arena;
    this.#offset = offset;
    this.ready = arena.commitAsync(offset, SEGMENT_BYTES); // takes milliseconds, in which the daemon does other things
    this.ready.catch(() => {}); // told to who waits for it
  }

  /** A cell for a new worker; -1 when the board is full. */
  take(workerId: string): number {
    if (this.#free.length === 0 && this.#used === CELLS) return -1;
    const offset = this.#free.pop() ?? this.#offset + this.#used++ * CELL_BYTES;
    this.#offsets.set(workerId, offset);
    this.#cell.fill(0);
    this.#arena.write(offset, new Uint8Array(this.#cell.buffer));
    return offset;
  }

  /** What the worker has counted. Gives its cell back. */
  end(workerId: string): WorkerProgress | undefined {
    const offset = this.#offsets.get(workerId);
    if (offset === undefined) return undefined;
    this.#offsets.delete(workerId);
    this.#free.push(offset);
    this.#arena.read(offset, new Uint8Array(this.#cell.buffer));
    return { startedTasks: this.#cell[0]!, severedTasks: this.#cell[1]! };
  }
}
