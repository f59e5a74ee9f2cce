/** `tune()`: searches a space with trials on the cluster. */
import { makeError } from '@muster/base';
import { deserialize } from 'node:v8';
import { isDeepStrictEqual } from 'node:util';
import { Driver } from './io/driver.js';
import { openFolder, temporaryFolder, type OpenFolder } from './io/folder.js';
import { LoggerSet } from './io/logger-set.js';
import { asJson, Experiment, type ExperimentState } from './machine/experiment.js';
import { experimentAfter } from './machine/resume.js';
import type { BeginRecord, LogRecord } from './machine/records.js';
import { refuse } from './option-checks.js';
import { resolveOptions, type ResolvedOptions, type TuneOptions } from './options.js';
import { resultOf, type TuneResult } from './result.js';
import type { Json } from './searcher.js';
import type { InferConfig, Space } from './space/parameters.js';
import { SearchSpace } from './space/search-space.js';
import { isTrainableClass, type Trainable, type TrainableClass } from './trial.js';
import { progress } from './view/progress.js';

/**
 * Searches a space for the configuration with the best result. A function is run as a task for each trial; a class as an actor, which is stepped; either of them as
 * a gang, with the option `gang`.
 *
 * @example
 * const result = await tune(async ({ lr }, trial) => {
 *   for (let epoch = trial.startEpoch; epoch < 20; epoch++) await trial.report({ loss: await train(lr) });
 * }, { space: { lr: loguniform(1e-5, 1e-1) }, metric: 'loss', trials: 64, storage: './runs/first', resume: true });
 * result.best.config.lr;
 * @throws INVALID_ARGUMENT for the space and the options; EXPERIMENT_IN_USE, EXPERIMENT_EXISTS, EXPERIMENT_DIFFERS, EXPERIMENT_DAMAGED and STORAGE for the folder;
 *   EXPERIMENT_FAILED where no trial has a result; UNSCHEDULABLE where the cluster has not what a trial asks for
 */
export async function tune<const S extends Space>(trainable: Trainable<InferConfig<S>> | TrainableClass<InferConfig<S>>, options: TuneOptions<S>): Promise<TuneResult<InferConfig<S>>> {
  const isClass = typeof trainable === 'function' && isTrainableClass(trainable as TrainableClass<never>);
  if (typeof trainable !== 'function' || (!isClass && /^class\b/.test(trainable.toString()))) {
    throw makeError('INVALID_ARGUMENT', { what: `tune(${typeof trainable === 'function' ? `class ${trainable.name}` : typeof trainable})`, want: 'given a function of a configuration, or a class with the method step()' });
  }
  const resolved = resolveOptions(options as unknown as TuneOptions<Space>, isClass);
  const space = SearchSpace.of(options.space, { constraints: options.constraints ?? [] } as never);
  for (const point of resolved.initialPoints) space.pointOf(point);
  const warn = (text: string): void => void process.stderr.write(`tune: ${text}\n`);
  const folder = resolved.storage === null ? temporaryFolder() : openFolder(resolved.storage, { resume: resolved.resume, warn });
  try {
    const loggers = new LoggerSet(options.loggers ?? [progress()], warn);
    return await runExperiment({ trainable: trainable as Trainable<never> | TrainableClass<never>, space, options: resolved, folder, loggers, warn });
  } finally {
    await folder.checkpoints.settled();
    folder.close();
  }
}

interface ExperimentParts {
  readonly trainable: Trainable<never> | TrainableClass<never>;
  readonly space: SearchSpace;
  readonly options: ResolvedOptions;
  readonly folder: OpenFolder;
  readonly loggers: LoggerSet;
  readonly warn: (text: string) => void;
}

async function runExperiment<Config>({ trainable, space, options, folder, loggers, warn }: ExperimentParts): Promise<TuneResult<Config>> {
  const { objectives, budget, storage } = options;
  const context = { space, objectives, seed: options.seed };
  const makeExperiment = (state: ExperimentState | null): Experiment => {
    const experiment: Experiment = new Experiment({
      objectives, budget, initialPoints: options.initialPoints, retries: options.retries,
      searcher: requireKind(options.searcher.create(context, state?.searcher), 'suggest', [`searcher: ${options.searcher.name}()`, 'a searcher, such as tpe(): schedulers go into the option scheduler']),
      scheduler: requireKind(options.scheduler.create(context, state?.scheduler), 'start', [`scheduler: ${options.scheduler.name}()`, 'a scheduler, such as asha({ maxEpochs: 81 }): searchers go into the option searcher']),
      write: (record) => {
        if (record.kind === 'report' && record.decision.kind === 'exploit') {
          const { trialId, checkpointStep } = record.decision;
          folder.checkpoints.copy({ trialId, step: checkpointStep }, { trialId: record.id, step: record.step });
        }
        folder.append(record);
      },
      told: (record) => {
        folder.keepState(() => experiment.state());
        loggers.record(record);
      },
    });
    return experiment;
  };
  const begin = beginRecord(space, options);
  const [first] = folder.earlier;
  if (first !== undefined) requireSame(first, begin, storage!);
  const experiment = experimentAfter({ records: folder.earlier, snapshot: folder.snapshot }, makeExperiment);
  if (first === undefined) folder.append(begin); // not before the searcher and the scheduler have taken their options: a folder of none may be begun anew
  folder.checkpoints.sweep(({ trialId, step }) => experiment.needsCheckpoint(trialId, step));
  await loggers.begin({ begin: (first as BeginRecord | undefined) ?? begin, table: experiment.table, trials: budget.trials, folder: storage });
  try {
    const driver = new Driver({ trainable, experiment, checkpoints: folder.checkpoints, options, elapsedMs: experiment.table.lastAtMs, warn });
    const reason = await driver.run();
    return resultOf<Config>(experiment.table, {
      reason, storage, checkpointOf: ({ id, checkpointStep }) => {
        const bytes = checkpointStep === 0 ? null : folder.checkpoints.read(id, checkpointStep);
        return bytes && deserialize(bytes);
      },
    });
  } finally {
    await loggers.close();
  }
}

/** What a definition has created: those of searchers and of schedulers look the same until then. @throws INVALID_ARGUMENT */
function requireKind<T extends object>(created: T, method: keyof T, [what, want]: readonly [what: string, want: string]): T {
  return typeof created[method] === 'function' ? created : refuse(what, want);
}

function beginRecord(space: SearchSpace, { objectives, seed, name, searcher, scheduler }: ResolvedOptions): BeginRecord {
  return { kind: 'begin', version: 1, name, space: asJson(space.dimensions), objectives, seed, searcher: searcher.name, searcherSeed: searcher.seed ?? seed, scheduler: scheduler.name, startedAt: Date.now() };
}

function requireSame(first: LogRecord, begin: BeginRecord, folder: string): void {
  if (first.kind !== 'begin') throw makeError('EXPERIMENT_DAMAGED', { file: folder, line: 1, cause: `it begins with a '${first.kind}'` });
  for (const key of ['version', 'space', 'objectives', 'seed', 'searcher', 'searcherSeed', 'scheduler'] as const) {
    const [its, asked] = [asJson(first[key]), asJson(begin[key])];
    if (!isDeepStrictEqual(its, asked)) throw makeError('EXPERIMENT_DIFFERS', { folder, difference: key === 'space' ? differenceOf(its as Described[], asked as Described[]) : `its ${key} is ${JSON.stringify(its)}, and not ${JSON.stringify(asked)}` });
  }
}

/** A dimension as the log has it. */
type Described = { readonly [name: string]: Json } & { readonly path: string };

/** The first parameter in which two spaces differ, with what is different there. */
function differenceOf(its: readonly Described[], asked: readonly Described[]): string {
  const index = its.findIndex((dimension, index) => !isDeepStrictEqual(dimension, asked[index]));
  const [was, is] = [its[index], asked[index < 0 ? its.length : index]];
  if (was?.path !== is?.path) return `its space has ${was ? `the parameter '${was.path}'` : 'no further parameter'} where this one has ${is ? `'${is.path}'` : 'none'}`;
  const changed = (dimension: Described, other: Described): string => JSON.stringify(Object.fromEntries(Object.entries(dimension).filter(([name, value]) => !isDeepStrictEqual(value, other[name]))));
  return `its parameter '${was!.path}' has ${changed(was!, is!)}, and not ${changed(is!, was!)}`;
}
