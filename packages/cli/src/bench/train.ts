/** `cluster bench train`: steps beside PyTorch's, the memory of bf16, what a second rank brings, what a killed one costs, and a GPT-2 on a GPU. */
import type { BenchRecord } from './measure.js';
import { runGangBench } from './train-gangs.js';
import { runGpuBench } from './train-gpu.js';
import { runMemoryBench, runStepBench } from './train-steps.js';

export async function runTrainBench({ report, note }: { readonly report: (record: BenchRecord) => void; readonly note: (text: string) => void }): Promise<void> {
  await runStepBench({ report, note });
  runMemoryBench(report);
  await runGangBench({ report, note });
  await runGpuBench({ report, note });
}
