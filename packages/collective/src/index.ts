/** @muster/collective: sums, gathers and messages among the ranks of a gang, in memory that they share and over the network. */
export { collective, createCommunicator, type CollectiveOptions, type CommunicatorOptions, type GangPlace } from './open.js';
export { Communicator, type BlockingCalls, type DeviceWay, type Group } from './communicator.js';
export type { CallOptions, ReduceOptions, Reduction } from './calls.js';
export type { CallArray, Dtype, NumberArray } from './elements.js';
export { CollectiveError } from '@muster/base';
