/** @muster/tune: hyperparameter search on a cluster. This is the whole public interface. */
export { choice, int, loguniform, logint, lognormal, normal, ordinal, qloguniform, quniform, uniform, Parameter, type InferConfig, type Space } from './space/parameters.js';
export { SearchSpace, type Constraint, type SpaceOptions } from './space/search-space.js';
export type { CategoricalDimension, Condition, Dimension, NumericDimension, Point } from './space/dimensions.js';
export { random } from './searchers/random.js';
export type { Json, Objective, Searcher, SearcherContext, SearcherDefinition, Suggestion, TrialEnd, TrialReport, TrialStatus } from './searcher.js';
export type { Decision, Scheduler, SchedulerContext, SchedulerDefinition } from './scheduler.js';
