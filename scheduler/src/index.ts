export type { GroupStrategy, LabelTerm, TopologyTerm } from '@muster/base';
export { Cluster, COLUMN, LEASES_PER_NODE_MAX, type Holding, type NodeCondition, type NodeRow, type NodeSnapshot, type NodeSpec, type NodeView } from './cluster.js';
export { explain, type Explanation, type Nearest, type Reasons, type Refusal, type RowWords } from './explain.js';
export { describeGroup, explainGroup, formatGroup } from './group/explain-group.js';
export { GroupShape } from './group/plan-group.js';
export { type Placed } from './group/bundles.js';
export { formatTerm, labelOf, satisfies } from './labels.js';
export { place } from './place.js';
export {
  groupKey, namesNodes, requestKey, type GroupRequest, type PlacementHints, type PlacementRequest,
} from './request.js';
export { Shape } from './shape.js';
export { haveRoom, reserve, type Ending, type Reservation } from './backfill.js';
export { compareTurns, DEFAULT_QUEUE, ShareOfQueue, type QueueSettings, type Ranked } from './fair-share.js';
export { Preemptor, type Preemption, type Tenant } from './preempt.js';
export { suggestNodes, SUGGESTED_NODES_MAX, WhatIf, type NodeType, type Outcome, type Plan, type Suggestion, type Wanted, type WantedGroups, type WantedTasks } from './what-if.js';
