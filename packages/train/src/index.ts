/** @muster/train: training on several workers. */
export { collective } from '@muster/collective';
export { dataset, streamedDataset, type ColumnArray, type Columns, type Dataset, type ReadExamples, type StreamOptions } from './data/dataset.js';
export { DataLoader, type Batch, type LoaderOptions } from './data/data-loader.js';
export { joinTraining, type JoinOptions } from './join-training.js';
export type { CheckpointOptions } from './checkpoint-plan.js';
export { DataParallelTrainer, type TrainerOptions, type TrainingResult } from './trainer.js';
export type { Rank, RankFunction, TrainingDevice } from './rank.js';
export type { MeshAxis, MeshPlace, MeshShape } from './machine/device-mesh.js';
export { Mesh } from './parallel/mesh.js';
export { ColumnParallelLinear, HeadParallelAttention, RowParallelLinear, VocabParallelEmbedding, type ParallelLinearOptions, type ParallelOptions } from './parallel/layers.js';
export { vocabParallelCrossEntropy, type VocabParallelOptions } from './parallel/cross-entropy.js';
export { copyToGroup, differingInGroup, reduceFromGroup } from './parallel/regions.js';
export { PipelineParallel, type PipelineOptions } from './parallel/pipeline-parallel.js';
export type { PipelineBatch, PipelineWork } from './parallel/pipeline-batch.js';
export type { Computed } from './computed.js';
export { Training, type Compute, type StepRecord, type TrainingOptions, type Until } from './training.js';
