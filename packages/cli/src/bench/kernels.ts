/** `cluster bench kernels`: matrix products beside OpenBLAS and oneDNN, and what memory decides beside memcpy and PyTorch's optimizer. */
import { join } from 'node:path';
import { pythonPeer, runNativeBench, withNativeBenches, type NativeBenchOptions } from './native-program.js';

export async function runKernelsBench({ report, note }: NativeBenchOptions): Promise<void> {
  await withNativeBenches(['kernels-gemm-bench', 'kernels-memory-bench'], note, async (folder) => {
    await runNativeBench(join(folder, 'kernels-gemm-bench'), ['--json'], report);
    await runNativeBench(join(folder, 'kernels-memory-bench'), ['--json', ...pythonPeer('torch-adamw.py', "PyTorch's AdamW", note)], report);
  });
}
