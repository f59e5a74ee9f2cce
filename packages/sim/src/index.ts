/** @muster/sim: a whole cluster in one thread and in virtual time, with faults, from one seed. */
export { SimCluster, type ClusterOptions, type NodeSpec } from './cluster.js';
export { CodeContext, type ActorHandle, type ActorOptions, type CallOptions } from './code-context.js';
export { FAULTS, type Faults } from './faults.js';
export { Violation } from './violation.js';
export type { Library, SimClass, SimFunction, SimMethod } from './library.js';
export { UserError, type Program } from './program.js';
export { simulate, Scene, type Verdict, type Workload } from './scenario.js';
export { findScenario, replayCommand, SCENARIOS, type Scenario } from './scenarios.js';
export { ClusterScript } from './script.js';
export { Large } from './values.js';
