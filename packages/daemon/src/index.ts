export { startDaemon, type DaemonOptions, type RunningDaemon } from './io/daemon.js';
export { FREE_RETRY_MS, PULL_IDLE_TIMEOUT_MS } from './io/peers.js';
export { sweepDeadNodes } from './io/node-folder.js';
export { DaemonMachine, type DaemonMachineOptions } from './machine/daemon-machine.js';
export type { DaemonEffect, DaemonEvent } from './machine/messages.js';
export type { ProcessExit } from './machine/death-cause.js';
