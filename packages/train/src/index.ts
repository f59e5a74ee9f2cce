/** @muster/train: training on several workers. */
export { collective } from '@muster/collective';
export { dataset, streamedDataset, type ColumnArray, type Columns, type Dataset, type ReadExamples, type StreamOptions } from './data/dataset.js';
export { DataLoader, type Batch, type LoaderOptions } from './data/data-loader.js';
export { DataParallelTrainer, type TrainerOptions, type TrainingResult } from './trainer.js';
export type { Rank, RankFunction } from './rank.js';
export { Training, type Computed, type StepRecord, type TrainingOptions } from './training.js';
