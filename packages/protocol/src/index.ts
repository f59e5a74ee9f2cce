export * from './generated/messages.js';
export { codec, type Codec } from './codec.js';
export * from './convert.js';
export { NO_ENDPOINT, targetOf } from './endpoint.js';
export type { LogOffsets, LogPart, LogsQuestion } from './logs.js';
export type { WorkerLine } from './worker-line.js';
export type { MessageStream } from './rpc/client.js';
export { ByteReader, ByteWriter } from './frame/bytes.js';
export { Composite, COMPOSITE, isInlineString, readPrimitive, writeComposite, writePrimitive, type ValueCursor } from './frame/value.js';
export { frameMessages, FrameReader } from './frame/parts.js';
export {
  ARGUMENTS_MAX, ATTEMPT_SHIFT, FLAGS_OFFSET, FRAME_HEADER_BYTES, FRAME_TARGET_BYTES, FrameWriter, framePayload, OwnerOp, TASK_HEADER_BYTES, TaskFlag, WorkerOp,
} from './frame/records.js';
