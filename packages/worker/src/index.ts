export { WAITS, COMPUTES, type EncodedResult, type ExecutorPorts, type ExecutorTimer, type Receiver } from './machine/ports.js';
export type { CallerLine, DefinedFunction } from './machine/caller-line.js';
export type { Preemption, Running } from './machine/running.js';
export type { Executor } from './machine/executor.js';
export { Worker, type WorkerOptions, type WorkerPorts } from './machine/worker.js';
