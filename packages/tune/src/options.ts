/** What `tune()` takes, checked and resolved once. */
import { parseResources, type ResourceSet } from '@muster/base';
import type { ActorOptions, GangOptions, TaskOptions } from '@muster/core';
import { basename, resolve } from 'node:path';
import type { ExperimentLogger } from './logger.js';
import type { Budget } from './machine/budget.js';
import { refuse, requireInteger, requireNames, requireNumber, requireSeed, shown } from './option-checks.js';
import type { SchedulerDefinition } from './scheduler.js';
import { fixed } from './schedulers/fixed.js';
import type { Objective, SearcherDefinition } from './searcher.js';
import { random } from './searchers/random.js';
import type { InferConfig, Space } from './space/parameters.js';
import type { Constraint } from './space/search-space.js';

/** How an experiment is run. */
export interface TuneOptions<S> {
  /** What may vary. */
  readonly space: S;
  /** What must hold between parameters. */
  readonly constraints?: readonly Constraint<InferConfig<NoInfer<S>>>[];
  /** The metric to make small or large; for several objectives, see `objectives`. */
  readonly metric?: string;
  /** Default `min`. */
  readonly mode?: 'min' | 'max';
  /** Several objectives, in place of `metric` and `mode`. */
  readonly objectives?: readonly Objective[];
  /** How many trials to run. Default: as many as the other budgets and the searcher allow, and 10 where there is no budget. */
  readonly trials?: number;
  /** Default: random search. */
  readonly searcher?: SearcherDefinition;
  /** Default: every trial runs to its end. */
  readonly scheduler?: SchedulerDefinition;
  /** What each trial occupies; of a gang, each of its ranks. Default: one cpu. */
  readonly resources?: Pick<TaskOptions, 'cpus' | 'gpus' | 'memory' | 'resources' | 'placement'>;
  /** Each trial is a gang of so many ranks, which run the function or class side by side. Default: one process. */
  readonly gang?: Pick<GangOptions, 'size' | 'strategy' | 'topology' | 'labels'>;
  /** The experiment's folder. Default: nothing is kept. */
  readonly storage?: string;
  /** Go on with the experiment that the folder holds, if it holds one. Default false: a folder with an experiment is refused. */
  readonly resume?: boolean;
  /** Everything random follows from it. Default 0. */
  readonly seed?: number;
  /** Trials at once. Default: as many as the cluster has room for, while nodes come and go. With 1, equal seeds give equal experiments. */
  readonly maxConcurrent?: number;
  /** How long the experiment may run, over all its resumptions. */
  readonly timeBudgetMs?: number;
  /** How much trials may cost in all: the sum of each trial's last value of a metric. */
  readonly costBudget?: { readonly metric: string; readonly most: number };
  /** Ends the experiment when so many trials in a row have not made the best result better by more than `least` (default 0). */
  readonly plateau?: { readonly trials: number; readonly least?: number };
  /** Further attempts of a trial, from its last checkpoint, when its worker or node dies. Default 3. */
  readonly retries?: number;
  /** How long one attempt of a trial may run. Default: no limit. */
  readonly trialTimeoutMs?: number;
  /** Configurations to try first. */
  readonly initialPoints?: readonly InferConfig<NoInfer<S>>[];
  /** What shows or exports the experiment. Default: `[progress()]`; an empty list: nothing. */
  readonly loggers?: readonly ExperimentLogger[];
  /** Shown in tables. Default: the folder's name. */
  readonly name?: string;
  /** Breaks the experiment off; it can be resumed. */
  readonly signal?: AbortSignal;
}

/** A task for each start of a trial, or processes of its own. */
export type TrialPlacement = { readonly task: TaskOptions } | { readonly actor: ActorOptions } | { readonly gang: GangOptions };

/** Options with nothing left open. */
export interface ResolvedOptions {
  readonly objectives: readonly Objective[];
  readonly searcher: SearcherDefinition;
  readonly scheduler: SchedulerDefinition;
  readonly budget: Budget;
  /** What runs a trial. */
  readonly place: TrialPlacement;
  /** What each of a trial's `size` processes asks for. */
  readonly demand: ResourceSet;
  readonly size: number;
  readonly trialTimeoutMs: number | null;
  readonly storage: string | null;
  readonly resume: boolean;
  readonly seed: number;
  /** Null: what the cluster has room for. */
  readonly maxConcurrent: number | null;
  readonly retries: number;
  readonly initialPoints: readonly unknown[];
  readonly name: string;
  readonly signal: AbortSignal | null;
}

const NAMES = [
  'space', 'constraints', 'metric', 'mode', 'objectives', 'trials', 'searcher', 'scheduler', 'resources', 'gang', 'storage', 'resume', 'seed', 'maxConcurrent', 'timeBudgetMs',
  'costBudget', 'plateau', 'retries', 'trialTimeoutMs', 'initialPoints', 'loggers', 'name', 'signal',
];
const RESOURCE_NAMES = ['cpus', 'gpus', 'memory', 'resources', 'placement'];
const GANG_NAMES = ['size', 'strategy', 'topology', 'labels'];
const RESOURCES = { cpus: 1 };
const GANG_SIZE_MAX = 10_000;
const DEFAULT_TRIALS = 10;
const DEFAULT_RETRIES = 3;
/** Trials in flight are tasks of this driver: more than any cluster runs at once only makes its searcher blind. */
const CONCURRENT_MAX = 10_000;

/** `isClass`: what is tuned is a class. @throws INVALID_ARGUMENT naming the option */
export function resolveOptions(options: TuneOptions<Space>, isClass: boolean): ResolvedOptions {
  if (typeof options !== 'object' || options === null) refuse(`tune(..., ${String(options)})`, 'given options such as { space, metric: \'loss\', trials: 64 }');
  requireNames('tune()', options, NAMES);
  const { storage, searcher = random(), scheduler = fixed(), seed = 0, retries = DEFAULT_RETRIES, maxConcurrent, trialTimeoutMs, gang, resources, name, signal } = options;
  requireMade('searcher', searcher, 'tpe()');
  requireMade('scheduler', scheduler, 'asha({ maxEpochs: 81 })');
  if (options.resume !== undefined && typeof options.resume !== 'boolean') refuse(`resume: ${shown(options.resume)}`, 'true or false');
  requireLists(options);
  requireSeed('seed', seed);
  requireInteger('retries', retries, 0, 1e6);
  if (maxConcurrent !== undefined) requireInteger('maxConcurrent', maxConcurrent, 1, CONCURRENT_MAX);
  if (storage !== undefined && (typeof storage !== 'string' || storage === '')) refuse('storage', 'the path of a folder');
  if (options.resume && storage === undefined) refuse('resume without storage', 'used with the folder of the experiment: storage');
  if (trialTimeoutMs !== undefined) requireTime('trialTimeoutMs', trialTimeoutMs);
  if (resources !== undefined) requireNames('resources', resources, RESOURCE_NAMES);
  if (name !== undefined && typeof name !== 'string') refuse(`name: ${String(name)}`, 'a text');
  if (signal !== undefined && !(signal instanceof AbortSignal)) refuse(`signal: ${String(signal)}`, "an AbortSignal, such as an AbortController's signal");
  return {
    objectives: objectivesOf(options), searcher, scheduler, budget: budgetOf(options), storage: storage === undefined ? null : resolve(storage), resume: options.resume ?? false, seed, maxConcurrent: maxConcurrent ?? null,
    retries, initialPoints: options.initialPoints ?? [], name: name ?? (storage === undefined ? 'experiment' : basename(resolve(storage))), signal: signal ?? null,
    place: placeOf(options, isClass), demand: parseResources({ ...RESOURCES, ...resources }), size: gang?.size ?? 1, trialTimeoutMs: trialTimeoutMs ?? null,
  };
}

/** Attempts are the experiment's to make, each from the last checkpoint: nothing is tried again or restarted by itself. */
function placeOf({ resources, gang, trialTimeoutMs }: TuneOptions<Space>, isClass: boolean): TrialPlacement {
  const asked = { ...RESOURCES, ...resources };
  if (gang === undefined) return isClass ? { actor: asked } : { task: { ...asked, name: 'trial', retries: 0, ...(trialTimeoutMs === undefined ? {} : { timeoutMs: trialTimeoutMs }) } };
  if (typeof gang !== 'object' || gang === null) refuse(`gang: ${String(gang)}`, 'an object such as { size: 4 }');
  requireNames('gang', gang, GANG_NAMES);
  requireInteger('gang.size', gang.size, 1, GANG_SIZE_MAX);
  if (resources?.placement !== undefined) refuse('placement with gang', "left out: say where a gang's ranks may be with gang.labels, gang.strategy and gang.topology");
  return { gang: { ...asked, ...gang, name: 'trial' } };
}

/** What a function of this package makes, called: `tpe()`, and not `tpe` or 'tpe'. */
function requireMade(option: string, value: SearcherDefinition | SchedulerDefinition, example: string): void {
  if (typeof (value as Partial<SearcherDefinition> | null)?.create === 'function') return;
  const parts = value as { searcher?: unknown; scheduler?: unknown } | null;
  const want = parts?.searcher && parts.scheduler ? 'spread into the options: { ...bohb({ maxEpochs: 81 }), space, ... }' : `made by a call such as ${example}`;
  refuse(`${option}: ${typeof value === 'function' ? 'a function' : typeof value === 'object' ? 'an object without create()' : String(value)}`, want);
}

function requireLists({ constraints = [], initialPoints = [], loggers = [] }: TuneOptions<Space>): void {
  if (!Array.isArray(constraints) || constraints.some((constraint) => typeof constraint !== 'function')) refuse('constraints', 'a list of functions of a configuration');
  if (!Array.isArray(initialPoints)) refuse('initialPoints', 'a list of configurations');
  const isLogger = (logger: Partial<ExperimentLogger> | null): boolean => [logger?.begin, logger?.record, logger?.close].every((method) => typeof method === 'function');
  if (!Array.isArray(loggers) || !loggers.every(isLogger)) refuse('loggers', 'a list of loggers, such as [progress(), csv(file)]');
}

function objectivesOf({ metric, mode, objectives }: TuneOptions<Space>): readonly Objective[] {
  if ((metric === undefined) === (objectives === undefined)) refuse('metric', "the name of one metric, such as 'loss', or left out where there are objectives");
  const all = objectives ?? [{ metric: metric!, mode: mode ?? 'min' }];
  if (!Array.isArray(all) || all.length === 0) refuse('objectives', "a list such as [{ metric: 'latency', mode: 'min' }, { metric: 'accuracy', mode: 'max' }]");
  if (objectives !== undefined && mode !== undefined) refuse('mode with objectives', 'left out: each objective has a mode of its own');
  for (const objective of all) {
    if (typeof objective !== 'object' || objective === null) refuse(`the objective ${String(objective)}`, "an object such as { metric: 'latency', mode: 'min' }");
    const { metric, mode } = objective;
    if (all.some((other) => other !== objective && other?.metric === metric)) refuse(`the metric '${metric}' in two objectives`, 'in one of them');
    if (typeof metric !== 'string' || metric === '') refuse(`the metric ${shown(metric)}`, 'a name');
    if (mode !== 'min' && mode !== 'max') refuse(`mode: ${shown(mode)}`, "'min' or 'max'");
  }
  return all;
}

function budgetOf({ trials, timeBudgetMs = Infinity, costBudget, plateau, searcher }: TuneOptions<Space>): Budget {
  if (trials !== undefined && trials !== Infinity) requireInteger('trials', trials, 1, 1e9);
  if (timeBudgetMs !== Infinity) requireTime('timeBudgetMs', timeBudgetMs);
  if (costBudget !== undefined) {
    requireNames('costBudget', costBudget, ['metric', 'most']);
    if (typeof costBudget.metric !== 'string' || costBudget.metric === '') refuse(`costBudget.metric: ${String(costBudget.metric)}`, 'the name of a metric that trials report');
    requireNumber('costBudget.most', costBudget.most, { above: 0 });
  }
  if (plateau !== undefined) {
    requireNames('plateau', plateau, ['trials', 'least']);
    requireInteger('plateau.trials', plateau.trials, 1, 1e9);
    requireNumber('plateau.least', plateau.least ?? 0, { least: 0 });
  }
  const isBounded = timeBudgetMs !== Infinity || costBudget !== undefined || plateau !== undefined || searcher?.name === 'grid';
  return { trials: trials ?? (isBounded ? Infinity : DEFAULT_TRIALS), timeMs: timeBudgetMs, cost: costBudget ?? null, plateau: plateau === undefined ? null : { trials: plateau.trials, least: plateau.least ?? 0 } };
}

/** Timers take no more. */
const TIME_MAX_MS = 2 ** 31 - 1;

function requireTime(name: string, value: number): void {
  if (!(typeof value === 'number' && value > 0 && value <= TIME_MAX_MS)) refuse(`${name}: ${String(value)}`, `a number above 0 and at most ${TIME_MAX_MS}, which is 24 days`);
}
