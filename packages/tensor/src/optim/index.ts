/** Optimizers and schedules. */
export { Optimizer, type Group, type OptimizerOptions, type OptimizerState, type ParameterGroup } from './optimizer.js';
export { SGD, type SGDOptions } from './sgd.js';
export { Adam, AdamW, type AdamOptions } from './adam.js';
export {
  constantLR, cosineAnnealingLR, cosineAnnealingWarmRestarts, exponentialLR, linearLR, LRScheduler, multiStepLR, oneCycleLR, polynomialLR, sequentialLR, stepLR, type Schedule,
} from './schedules.js';
