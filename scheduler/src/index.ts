export { Cluster, COLUMN, LEASES_PER_NODE_MAX, type Holding, type NodeCondition, type NodeRow, type NodeSpec, type NodeView } from './cluster.js';
export { explain, type Explanation, type RowWords } from './explain.js';
export { describeGroup, explainGroup } from './group/explain-group.js';
export { GroupShape } from './group/plan-group.js';
export { type Placed } from './group/bundles.js';
export { formatTerm, labelOf, satisfies, type LabelTerm } from './labels.js';
export { place } from './place.js';
export {
  groupKey, requestKey, type GroupRequest, type GroupStrategy, type PlacementHints, type PlacementRequest, type TopologyTerm,
} from './request.js';
export { Shape } from './shape.js';
export { Reservation, type Ending } from './backfill.js';
export { byTurn, DEFAULT_QUEUE, ShareOfQueue, type QueueSettings } from './fair-share.js';
export { preempt, type Preemption, type Tenant } from './preempt.js';
