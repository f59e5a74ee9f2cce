/** Training on several workers: data-, tensor- and pipeline-parallel. */
export { BUCKET_SIZES, planBuckets, type Bucket, type BucketSizes, type BucketSlot, type GradientShape } from './machine/bucket-plan.js';
export { MESH_AXES, meshSize, placeOf, rankAt, ranksAlong, type MeshAxis, type MeshPlace, type MeshShape } from './machine/device-mesh.js';
export { pipelineSchedule, type PipelineShape, type PipelineStep } from './machine/pipeline-schedule.js';
export { ShardSampler, type SamplerOptions } from './data/shard-sampler.js';
export { dataset, type ColumnArray, type Columns, type Dataset } from './data/dataset.js';
export { DataLoader, type Batch, type LoaderOptions } from './data/data-loader.js';
