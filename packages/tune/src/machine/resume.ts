/** Going on with an experiment: from its log, and from a snapshot where there is one. */
import type { Experiment, ExperimentState } from './experiment.js';
import type { LogRecord } from './records.js';

/** Other options show within the first rungs and the first suggestions that were learned. */
const WITNESSED_RECORDS = 100;

/** What is known of an experiment that was run before. */
export interface Past {
  /** All lines of the log. */
  readonly records: Iterable<LogRecord>;
  /** What was known when the log had so many lines. */
  readonly snapshot: { readonly extent: { readonly records: number }; readonly state: ExperimentState } | null;
}

/**
 * The experiment as its log leaves it: from a snapshot, or by living through all of it. With a snapshot the first records are lived through all the same, beside it,
 * so that a searcher or a scheduler with other options is told from the one that wrote them.
 * @throws EXPERIMENT_DIFFERS
 */
export function experimentAfter({ records, snapshot }: Past, makeExperiment: (state: ExperimentState | null) => Experiment): Experiment {
  const restored = snapshot && tryTo(() => makeExperiment(snapshot.state));
  const known = restored ? snapshot.extent.records : 0;
  const fromTheFirst = makeExperiment(null);
  const experiment = restored ?? fromTheFirst;
  let count = 0;
  for (const record of records) {
    if (count < Math.min(known, WITNESSED_RECORDS)) fromTheFirst.replay(record);
    if (count++ < known) experiment.recall(record);
    else experiment.replay(record);
  }
  return experiment;
}

/** Null where it throws: a state of which the searcher or the scheduler makes nothing is no better than none. */
function tryTo<T>(make: () => T): T | null {
  try {
    return make();
  } catch {
    return null;
  }
}
