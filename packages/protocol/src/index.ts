export * from './generated/messages.js';
export { codec, type Codec } from './codec.js';
export * from './convert.js';
export type { LogOffsets, LogPart, LogsQuestion } from './logs.js';
export { Channel, type ChannelOptions, type MessageStream } from './rpc/client.js';
export { RpcServer, type Handlers, type ServerOptions } from './rpc/server.js';
export { MESSAGE_MAX_BYTES, PROTOCOL_VERSION, targetOf } from './rpc/wire.js';
export { ByteReader, ByteWriter } from './frame/bytes.js';
export { Composite, COMPOSITE, isInlineString, readPrimitive, writeComposite, writePrimitive, type ValueCursor } from './frame/value.js';
export { frameMessages, FrameReader } from './frame/parts.js';
export {
  ARGUMENTS_MAX, ATTEMPT_SHIFT, FLAGS_OFFSET, FRAME_HEADER_BYTES, FRAME_TARGET_BYTES, FrameWriter, framePayload, OwnerOp, TASK_HEADER_BYTES, TaskFlag, WorkerOp,
} from './frame/records.js';
