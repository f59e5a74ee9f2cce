/** @muster/sim: a whole cluster in one thread and in virtual time, with faults, from one seed. */
export { SimCluster, type ClusterOptions, type NodeSpec } from './cluster.js';
export { CodeContext, type ActorHandle, type ActorOptions, type CallOptions } from './code-context.js';
export { FAULTS, type Faults } from './faults.js';
export { Violation } from './violation.js';
export type { Library, SimClass, SimFunction, SimMethod } from './library.js';
export { UserError, type Program } from './program.js';
export { play, type PlayOptions, type Progress } from './play.js';
export { formatReport, type Report } from './report.js';
export { readScenario, type ScenarioFile } from './scenario-file/scenario-file.js';
export { formatPoint, formatScaling, scale, SCALING_HEADING, type ScalingPoint, type ScalingReport } from './scaling.js';
export { simulate, Scene, type Verdict, type Workload } from './scenario.js';
export { findScenario, replayCommand, SCENARIOS, type Scenario } from './scenarios.js';
export { ClusterScript } from './script.js';
export { Large } from './values.js';
