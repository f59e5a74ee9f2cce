/**
 * All of a session that speaks gRPC, which takes long to load. A driver loads it while the node that it connects to starts; until then its tasks
 * are captured and queued.
 */
export { RpcServer } from '@muster/protocol/rpc';
export { HeadClient } from './head-client.js';
export { openLender, openLine } from './lines.js';
export { StoreClient } from './store-client.js';
