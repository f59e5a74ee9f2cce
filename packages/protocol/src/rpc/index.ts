/** Connections. They stand by themselves because gRPC takes long to load: what only makes messages, or connects later, need not wait for it. */
export { Channel, type ChannelOptions, type MessageStream } from './client.js';
export { RpcServer, type Handlers, type ServerOptions } from './server.js';
export { MESSAGE_MAX_BYTES, PROTOCOL_VERSION } from './wire.js';
