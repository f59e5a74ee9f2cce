/**
 * Tasks in flight, as columns indexed by slot: a million queued tasks cost some thirty bytes each beside their record and reference.
 * A slot is free again only after the worker's last word on it, so a late reply never meets another task.
 */
import { ByteWriter, FRAME_TARGET_BYTES, TASK_HEADER_BYTES } from '@muster/protocol';
import { makeError } from '@muster/base';
import type { ObjectRef } from './reference.js';
import type { TaskSpec } from './task-spec.js';

/** Tasks one process may have unfinished: 2^24 slots are about 2 GB of driver memory. */
export const SLOTS_MAX = 2 ** 24;

/** Where a task is. */
export const SlotState = {
  free: 0,
  /** Arguments are not there yet. */
  waiting: 1,
  queued: 2,
  sent: 3,
  /** Waits for its next attempt. */
  delayed: 4,
  /** Its reference is settled; the worker has not said its last word. */
  abandoned: 5,
} as const;

/** A stretch of encoded records; it lives until all of its tasks are done. */
export class Segment extends ByteWriter {
  liveCount = 0;
  constructor() {
    super(FRAME_TARGET_BYTES);
  }

  /** Undoes a record that was begun, and returns a copy of its arguments so far. */
  takeBack(at: number): Uint8Array {
    const done = Buffer.from(this.buffer.subarray(at + TASK_HEADER_BYTES, this.position));
    this.position = at;
    return done;
  }
}

/** A task whose arguments include references: its record is made at each dispatch, with the locations of that moment. */
export interface TaskTemplate {
  readonly argumentCount: number;
  /** Runs of encoded arguments, or references whose values' locations are written. */
  readonly parts: readonly (Uint8Array | ObjectRef)[];
  /** References nested in the encoded arguments, held until the task is done. */
  readonly held: readonly ObjectRef[];
  /** References inside the values of those in `parts`, held likewise from the time when the values are there. */
  passed: readonly ObjectRef[];
}

const INITIAL_SLOTS = 1024;

export class SlotTable {
  readonly refs: (ObjectRef | undefined)[] = [];
  readonly specs: (TaskSpec | undefined)[] = [];
  /** Undefined for templates. */
  readonly segments: (Segment | undefined)[] = [];
  readonly templates = new Map<number, TaskTemplate>();
  states = new Uint8Array(INITIAL_SLOTS);
  offsets = new Uint32Array(INITIAL_SLOTS);
  /** The number of the line it was sent on. */
  lines = new Uint32Array(INITIAL_SLOTS);
  /** The how-manieth task of its line it is, from 1. */
  order = new Float64Array(INITIAL_SLOTS);
  attempts = new Uint8Array(INITIAL_SLOTS);
  /** 1 while the line counts it as long. */
  heavy = new Uint8Array(INITIAL_SLOTS);
  #free = new Uint32Array(INITIAL_SLOTS);
  #freeCount = 0;
  /** Slots ever used. */
  length = 0;

  get usedCount(): number {
    return this.length - this.#freeCount;
  }

  allocate(ref: ObjectRef, spec: TaskSpec, state: number): number {
    const slot = this.#freeCount > 0 ? this.#free[--this.#freeCount]! : this.#extend();
    this.refs[slot] = ref;
    this.specs[slot] = spec;
    this.states[slot] = state;
    this.attempts[slot] = 0;
    return slot;
  }

  release(slot: number): void {
    const segment = this.segments[slot];
    if (segment !== undefined) {
      segment.liveCount--;
      this.segments[slot] = undefined;
    } else this.templates.delete(slot);
    this.refs[slot] = undefined;
    this.specs[slot] = undefined;
    this.states[slot] = SlotState.free;
    this.heavy[slot] = 0;
    this.#free[this.#freeCount++] = slot;
  }

  #extend(): number {
    if (this.length === SLOTS_MAX) throw makeError('BACKPRESSURE', { what: 'this process', pending: this.length, limit: SLOTS_MAX });
    if (this.length === this.states.length) {
      const capacity = this.length * 2;
      this.states = grow(this.states, new Uint8Array(capacity));
      this.offsets = grow(this.offsets, new Uint32Array(capacity));
      this.lines = grow(this.lines, new Uint32Array(capacity));
      this.order = grow(this.order, new Float64Array(capacity));
      this.attempts = grow(this.attempts, new Uint8Array(capacity));
      this.heavy = grow(this.heavy, new Uint8Array(capacity));
      this.#free = grow(this.#free, new Uint32Array(capacity));
    }
    this.segments.push(undefined); // keeps the columns packed
    return this.length++;
  }
}

function grow<A extends Uint8Array | Uint32Array | Float64Array>(from: A, to: A): A {
  to.set(from);
  return to;
}
