/**
 * What one stage of a pipeline does, in order: one forward, one backward (1F1B).
 *
 *   stage 0   F0 F1 F2 F3 B0 F4 B1 F5 B2 .. B3 .. B4 .. B5      warm up with as many forwards as there are stages behind,
 *   stage 1      F0 F1 F2 B0 F3 B1 F4 B2 F5 B3 .. B4 .. B5      then alternate, so that a stage never keeps the activations
 *   stage 2         F0 F1 B0 F2 B1 F3 B2 F4 B3 F5 B4 .. B5      of more micro-batches than there are stages from it to the end
 *   stage 3            F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5
 *
 * The bubble, the share of the time in which a stage waits, is (stages - 1) / (microBatches + stages - 1).
 * Source: Narayanan et al., PipeDream (SOSP 2019) and Efficient Large-Scale Language Model Training on GPU Clusters (SC 2021), 2.2.1.
 */

export interface PipelineStep {
  readonly kind: 'forward' | 'backward';
  readonly microBatch: number;
}

export interface PipelineShape {
  readonly stage: number;
  readonly stages: number;
  readonly microBatches: number;
}

/** The steps of one stage in one batch: every micro-batch forward once and backward once, each in the order of their numbers. */
export function pipelineSchedule({ stage, stages, microBatches }: PipelineShape): PipelineStep[] {
  const warmUp = Math.min(stages - stage - 1, microBatches);
  const steps: PipelineStep[] = [];
  for (let microBatch = 0; microBatch < warmUp; microBatch++) steps.push({ kind: 'forward', microBatch });
  for (let microBatch = warmUp; microBatch < microBatches; microBatch++) {
    steps.push({ kind: 'forward', microBatch }, { kind: 'backward', microBatch: microBatch - warmUp });
  }
  for (let microBatch = microBatches - warmUp; microBatch < microBatches; microBatch++) steps.push({ kind: 'backward', microBatch });
  return steps;
}
