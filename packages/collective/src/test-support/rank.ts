/** A rank in a process of its own: does what its scenario says, and reports what came of it. Dies with the test. */
import { dieWithParent } from '@muster/native';
import { createCommunicator } from '../index.js';
import { deviceScenarios } from './device-scenarios.js';
import { scenarios } from './scenarios.js';

export type ScenarioName = keyof typeof all;
const all = { ...scenarios, ...deviceScenarios };

dieWithParent(process.ppid);
const [name, id, rank, size, timeoutMs, debug] = process.argv.slice(2) as [ScenarioName, string, string, string, string, string];
const communicator = await createCommunicator({ id, rank: Number(rank), size: Number(size), timeoutMs: Number(timeoutMs), debug: debug === 'true' });
const told = new Promise<void>((resolve) => process.once('message', () => resolve()));
const result = await all[name](communicator, { say: (word) => process.send?.({ word }), told });
process.send?.({ result });
if (name !== 'exits while a call is pending') communicator.close();
if (process.connected) process.disconnect(); // else the test has ended
