/** What a searcher has proposed and heard, in order: the whole of its state. Losses are to be made small, whatever the objective's mode. */
import { makeError } from '@muster/base';
import type { Json, Objective, TrialEnd, TrialReport, TrialStatus } from '../searcher.js';
import type { Point } from '../space/dimensions.js';

/** A trial as searchers see it. */
export interface Trial {
  readonly id: string;
  readonly point: Point;
  /** What the searcher wants to remember of how it made the trial: numbers of its own. */
  readonly note: readonly number[];
  readonly status: 'running' | TrialStatus;
  /** One for each objective; null while it runs and where it failed. */
  readonly losses: readonly number[] | null;
  /** How far it has come, by its last report; 0: it never reported. */
  readonly step: number;
}

/** One for all: most trials have none. */
const NOTHING: readonly never[] = [];

/** The trials of one searcher. */
export class History {
  readonly #objectives: readonly Objective[];
  readonly #trials = new Map<string, Trial>();
  readonly #running = new Set<string>();
  readonly #ended: Trial[] = [];
  /** How many trials the searcher proposed itself. */
  proposed = 0;
  /** How far the searcher has come in a sequence of its own. */
  cursor = 0;

  constructor(objectives: readonly Objective[]) {
    this.#objectives = objectives;
  }

  get(id: string): Trial | undefined {
    return this.#trials.get(id);
  }

  /** Those that ended, in the order in which they did. */
  get ended(): readonly Trial[] {
    return this.#ended;
  }

  /** Those that have not ended, in the order in which they began. */
  running(): Trial[] {
    return Array.from(this.#running, (id) => this.#trials.get(id)!);
  }

  /** A new trial; false where it is known already. */
  begin(id: string, point: Point, note: readonly number[]): boolean {
    if (this.#trials.has(id)) return false;
    this.#trials.set(id, { id, point, note: note.length === 0 ? NOTHING : note, status: 'running', losses: null, step: 0 });
    this.#running.add(id);
    return true;
  }

  /** The first objective's loss where the report is a new one; null where it was made before, or tells nothing. */
  report({ trialId, step, values }: TrialReport): number | null {
    const trial = this.#trials.get(trialId);
    const loss = this.#lossesOf(values)?.[0];
    if (trial?.status !== 'running' || loss === undefined || !(step > trial.step)) return null;
    this.#trials.set(trialId, { ...trial, step });
    return loss;
  }

  /** The trial as it ended; null where that is known already, or the trial is not known. */
  end({ trialId, status, values }: TrialEnd): Trial | null {
    const trial = this.#trials.get(trialId);
    if (trial?.status !== 'running') return null;
    const losses = status === 'failed' || values === null ? null : this.#lossesOf(values);
    const ended: Trial = { ...trial, status: losses === null ? 'failed' : status, losses };
    this.#trials.set(trialId, ended);
    this.#running.delete(trialId);
    this.#ended.push(ended);
    return ended;
  }

  /** Everything, for a log. Those that ended come first, in the order in which they did. */
  state(): Json {
    const rows = [...this.#ended, ...this.running()].map(({ id, point, note, status, losses, step }): Json => [id, point, note, status, losses, step]);
    return { proposed: this.proposed, cursor: this.cursor, trials: rows };
  }

  /** Takes the state of another history over. */
  restore(state: Json): void {
    const { proposed, cursor, trials } = state as { proposed?: unknown; cursor?: unknown; trials?: unknown };
    if (typeof proposed !== 'number' || typeof cursor !== 'number' || !Array.isArray(trials)) throw makeError('INVALID_ARGUMENT', { what: "the searcher's state", want: 'what state() of such a searcher returned' });
    this.proposed = proposed;
    this.cursor = cursor;
    for (const [id, point, note, status, losses, step] of trials as [string, Point, number[], Trial['status'], number[] | null, number][]) {
      const trial: Trial = { id, point, note, status, losses, step };
      this.#trials.set(id, trial);
      if (status === 'running') this.#running.add(id);
      else this.#ended.push(trial);
    }
  }

  /** Values as losses; null where one is not a number to go by. */
  #lossesOf(values: readonly number[]): readonly number[] | null {
    if (values.length !== this.#objectives.length) throw makeError('INVALID_ARGUMENT', { what: `a result with ${values.length} values`, want: `one value for each of the ${this.#objectives.length} objectives` });
    return values.every(Number.isFinite) ? values.map((value, index) => (this.#objectives[index]!.mode === 'max' ? -value : value)) : null;
  }
}
