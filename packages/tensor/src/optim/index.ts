/** Optimizers and schedules. */
export { Optimizer, type Group, type OptimizerOptions, type OptimizerState, type ParameterGroup } from './optimizer.js';
export { SGD, type SGDOptions } from './sgd.js';
export { Adam, AdamW, type AdamOptions } from './adam.js';
export { clipGradNorm, gradNorm } from './clip.js';
export { cosineAnnealingLR, exponentialLR, linearLR, LRScheduler, multiStepLR, sequentialLR, stepLR, type Schedule } from './schedules.js';
