export { LEASES_PER_NODE_MAX, type ClusterSnapshot, type NodeCondition, type NodeView, type PlacementHints, type PlacementRequest } from './cluster.js';
export { place, type Decision } from './place.js';
export type { Rejection } from './rejection.js';
