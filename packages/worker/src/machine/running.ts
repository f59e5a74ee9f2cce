/** One task or call, from its record to its answer. */
import { RefState, type ObjectRef } from '@muster/core/internal';
import type { ActorMethod } from './actor-target.js';
import type { CallerLine, DefinedFunction } from './caller-line.js';

/** Finished children are dropped from the list when it has grown by this many. */
const CHILDREN_SWEEP = 1024;

/** Others of higher priority need the room of what runs here. */
export interface Preemption {
  readonly why: string;
  readonly graceMs: number;
}

/** A generator's values: how many it has yielded, and how many more it may. */
export interface Yielding {
  count: number;
  credit: number;
  /** Goes on when there is more credit, or none is needed any more. */
  onCredit: (() => void) | null;
}

export class Running {
  isCancelled = false;
  /** Several events long: it has a place of its own among what runs. */
  hasPlace = false;
  isOver = false;
  startedMs = 0;
  /** What the edge keeps with it. */
  attachment: unknown = null;
  #children: ObjectRef[] | null = null;
  #sweepAt = CHILDREN_SWEEP;

  constructor(
    readonly line: CallerLine, readonly slot: number,
    /** The owner's number of the task, for its id. */
    readonly sequence: number,
    /** Tries before this one. */
    readonly attempt: number,
    /** What runs; null for calls. */
    readonly fn: DefinedFunction | null,
    /** Null for tasks. */
    readonly method: ActorMethod | null,
    /** Null unless it is a generator. */
    readonly yielding: Yielding | null,
    public preemption: Preemption | null,
  ) {}

  get name(): string {
    return (this.fn ?? this.method!).name;
  }

  /** Tasks that it submitted and that may not have ended. */
  get children(): readonly ObjectRef[] {
    return this.#children ?? [];
  }

  addChild(ref: ObjectRef): void {
    this.#children ??= [];
    this.#children.push(ref);
    if (this.#children.length < this.#sweepAt) return;
    this.#children = this.#children.filter((child) => child.state === RefState.pending);
    this.#sweepAt = this.#children.length + CHILDREN_SWEEP;
  }
}
