/** @muster/tune: hyperparameter search on a cluster. This is the whole public interface. */
export { choice, int, loguniform, logint, lognormal, normal, ordinal, qloguniform, quniform, uniform, Parameter, type InferConfig, type Space } from './space/parameters.js';
export type { Constraint, SearchSpace, SpaceOptions } from './space/search-space.js';
export type { Objective, Searcher, SearcherContext, SearcherDefinition, Suggestion, TrialEnd, TrialReport, TrialStatus } from './searcher.js';
export type { Decision, Scheduler, SchedulerContext, SchedulerDefinition } from './scheduler.js';
