export { LOST_NODE_GRACE_TIMEOUTS, startHead, type HeadOptions, type RunningHead } from './io/head.js';
export { HeadMachine } from './machine/head-machine.js';
export type { HeadSettings } from './machine/context.js';
export { PLAIN_QUEUE, type QueueRules } from './machine/queues.js';
export { readQueueFile } from './queue-file.js';
export { TICK_MS, type HeadEffect, type HeadEvent } from './machine/messages.js';
export * from './queries/shapes.js';
