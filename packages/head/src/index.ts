export { startHead, type HeadOptions, type RunningHead } from './io/head.js';
export { HeadMachine } from './machine/head-machine.js';
export type { HeadSettings } from './machine/context.js';
export { TICK_MS, type HeadEffect, type HeadEvent } from './machine/messages.js';
export * from './queries/shapes.js';
