/** @muster/core: tasks, actors and shared objects on a cluster. This is the whole public interface. */
export { init, shutdown, type ClusterInfo, type InitOptions } from './api/init.js';
export { remote } from './api/remote.js';
export { actor, getActor } from './api/actor.js';
export { gang } from './api/gang.js';
export { kill } from './api/kill.js';
export { cancel, free, get, put, wait, type CancelOptions, type Values, type WaitOptions, type WaitResult } from './api/references.js';
export { placementGroup, type BundleOptions, type PlacedBundle, type PlacementGroup, type PlacementGroupOptions } from './api/placement-group.js';
export { nodes, type NodeInfo } from './api/nodes.js';
export { context, type Context, type GangContext } from './api/context.js';
export { keyValues, peering, watchProcess, type KeyValues, type Peering } from './api/key-values.js';
export type {
  ActorClass, ActorHandle, ActorOptions, Argument, Arguments, CallOptions, GangClass, GangHandle, GangOptions, MapOptions, Placement, RemoteFunction, RemoteGenerator, RemoteGeneratorMethod,
  RemoteMethod, TaskOptions,
} from './api/types.js';
export { ObjectRef } from './machine/reference.js';
export {
  ActorDiedError, ActorUnavailableError, AuthenticationError, BackpressureError, CaptureError, GangDiedError, MusterError, NodeDiedError, ObjectLostError, ObjectStoreFullError,
  OwnerDiedError, RuntimeEnvError, TaskCancelledError, TimeoutError, UnschedulableError, VersionMismatchError, WorkerDiedError,
  type ErrorCode, type GroupStrategy, type LabelCondition, type TopologyRule,
} from '@muster/base';
