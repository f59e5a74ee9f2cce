/** Questions that only others can answer: asks many at once and waits until all have answered or the time is over. */
import { makeError } from '@muster/base';
import type { Failure } from '@muster/protocol';
import type { HeadContext } from '../machine/context.js';
import { FAN_OUT_TIMEOUT_MS, QUERIES_PENDING_MAX } from '../machine/limits.js';

/** What one of those asked has said. */
export interface Answer {
  readonly failure: Failure | null;
  readonly json: string;
}

/** Somebody to ask: a process or a node. */
export interface Asked {
  readonly id: string;
  send(requestId: number): void;
}

/** What everybody said; who said nothing in time. */
export interface Answers {
  readonly byId: ReadonlyMap<string, Answer>;
  readonly silent: readonly string[];
}

interface Gathering {
  readonly byId: Map<string, Answer>;
  readonly waitingFor: Set<string>;
  readonly requestIds: number[];
  readonly untilMs: number;
  readonly finish: (answers: Answers) => void;
}

/** All questions that wait for answers. */
export class FanOut {
  readonly #context: HeadContext;
  readonly #gatherings = new Set<Gathering>();
  readonly #byRequest = new Map<number, { readonly askedId: string; readonly gathering: Gathering }>();
  #requests = 0;

  constructor(context: HeadContext) {
    this.#context = context;
  }

  /** Calls `finish` once. @throws MusterError BACKPRESSURE */
  ask(asked: readonly Asked[], finish: (answers: Answers) => void): void {
    const pending = this.#gatherings.size;
    if (pending >= QUERIES_PENDING_MAX) throw makeError('BACKPRESSURE', { what: 'the head', pending, limit: QUERIES_PENDING_MAX });
    const gathering: Gathering = {
      byId: new Map(), waitingFor: new Set(asked.map(({ id }) => id)), requestIds: [], untilMs: this.#context.nowMs + FAN_OUT_TIMEOUT_MS, finish,
    };
    if (asked.length === 0) return finish({ byId: gathering.byId, silent: [] });
    this.#gatherings.add(gathering);
    for (const { id, send } of asked) {
      const requestId = ++this.#requests;
      gathering.requestIds.push(requestId);
      this.#byRequest.set(requestId, { askedId: id, gathering });
      send(requestId);
    }
  }

  /** An answer that nobody waits for is left alone. */
  answered(askedId: string, requestId: number, answer: Answer): void {
    const request = this.#byRequest.get(requestId);
    if (request === undefined || request.askedId !== askedId) return;
    const { gathering } = request;
    this.#byRequest.delete(requestId);
    gathering.byId.set(askedId, answer);
    gathering.waitingFor.delete(askedId);
    if (gathering.waitingFor.size === 0) this.#finish(gathering);
  }

  tick(): void {
    for (const gathering of this.#gatherings) if (gathering.untilMs <= this.#context.nowMs) this.#finish(gathering);
  }

  #finish(gathering: Gathering): void {
    this.#gatherings.delete(gathering);
    for (const requestId of gathering.requestIds) this.#byRequest.delete(requestId);
    gathering.finish({ byId: gathering.byId, silent: [...gathering.waitingFor] });
  }
}
