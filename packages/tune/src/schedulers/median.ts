/**
 * Median stopping: a trial stops where its best loss so far is worse than the median of what others had averaged up to the same step.
 * Source: Golovin et al., 2017 (Vizier's performance curve stopping rule, without the model).
 */
import { requireNames, requireNumber } from '../option-checks.js';
import type { Decision, SchedulerContext, SchedulerDefinition } from '../scheduler.js';
import type { Json, TrialStatus } from '../searcher.js';
import { defineScheduler, TrialScheduler } from './trial-scheduler.js';

/** What {@link medianStopping} takes. */
export interface MedianStoppingOptions {
  /** No trial is stopped before this step. Default 1. */
  readonly graceEpochs?: number;
  /** Trials that must have come as far before one is compared with them. Default 5. */
  readonly minTrials?: number;
}

const MIN_TRIALS = 5;
/** The curves of so many trials are kept, the latest: a median of more is hardly another. */
const CURVES_MAX = 500;

/** Stops trials that are worse than half of the others at the same step. Makes fewer assumptions than ASHA, and saves less. */
export function medianStopping(options: MedianStoppingOptions = {}): SchedulerDefinition {
  requireNames('medianStopping()', options, ['graceEpochs', 'minTrials']);
  const { graceEpochs = 1, minTrials = MIN_TRIALS } = options;
  requireNumber('graceEpochs of medianStopping()', graceEpochs, { least: 0 });
  requireNumber('minTrials of medianStopping()', minTrials, { least: 1 });
  return defineScheduler('median', (context) => new MedianScheduler(context, graceEpochs, minTrials));
}

/** A trial's reports: steps, and the mean of all losses up to each. */
interface Curve {
  readonly steps: number[];
  readonly means: number[];
  best: number;
}

class MedianScheduler extends TrialScheduler<Curve> {
  readonly #graceEpochs: number;
  readonly #minTrials: number;
  #finished: Curve[] = [];

  constructor(context: SchedulerContext, graceEpochs: number, minTrials: number) {
    super(context);
    this.#graceEpochs = graceEpochs;
    this.#minTrials = minTrials;
  }

  protected keep(): Curve {
    return { steps: [], means: [], best: Infinity };
  }

  protected decide({ kept }: { readonly kept: Curve }, step: number, loss: number): Decision {
    const count = kept.steps.length;
    kept.means.push(((kept.means.at(-1) ?? 0) * count + loss) / (count + 1));
    kept.steps.push(step);
    kept.best = Math.min(kept.best, loss);
    if (step < this.#graceEpochs) return { kind: 'continue', reason: `median: no trial is stopped before epoch ${this.#graceEpochs}` };
    const others = [...this.#finished, ...Array.from(this.running.values(), (trial) => trial.kept)].filter((curve) => curve !== kept && curve.steps.length > 0 && curve.steps.at(-1)! >= step);
    if (others.length < this.#minTrials) return { kind: 'continue', reason: `median: ${others.length} of ${this.#minTrials} trials to compare with have come to epoch ${step}` };
    const median = medianOf(others.map((curve) => curve.means[curve.steps.findLastIndex((at) => at <= step)] ?? curve.means[0]!));
    const isWorse = kept.best > median;
    return { kind: isWorse ? 'stop' : 'continue', reason: `median: its best, ${this.shown(kept.best)}, is ${isWorse ? 'worse' : 'no worse'} than the median ${this.shown(median)} of ${others.length} trials at epoch ${step}` };
  }

  protected override forget({ kept }: { readonly kept: Curve }, status: TrialStatus): void {
    if (status !== 'failed' && kept.steps.length > 0) this.#finished = [...this.#finished, kept].slice(-CURVES_MAX);
  }

  state(): Json {
    const row = ({ steps, means, best }: Curve): Json => [[...steps], [...means], steps.length === 0 ? null : best];
    return { finished: this.#finished.map(row), running: [...this.running].map(([id, { step, kept }]) => [id, step, row(kept)]) };
  }

  restore(state: Json): void {
    const curve = ([steps, means, best]: CurveRow): Curve => ({ steps: [...steps], means: [...means], best: best ?? Infinity });
    const { finished, running } = state as { finished: CurveRow[]; running: [string, number, CurveRow][] };
    this.#finished = finished.map(curve);
    for (const [id, step, row] of running) this.running.set(id, { step, kept: curve(row) });
  }
}

type CurveRow = [steps: number[], means: number[], best: number | null];

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
