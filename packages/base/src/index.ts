export * from './ids.js';
export * from './ports.js';
export { systemRandom, seededRandom } from './random.js';
export * from './labels.js';
export * from './units.js';
export * from './resources.js';
export * from './death.js';
export * from './errors.js';
export { musterHome, sweepDeadDrivers, type NodeFile } from './home.js';
