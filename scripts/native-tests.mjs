/** Builds and runs the C++ tests of the native core: plain CMake, no Node; and those of the GPU's library, where nvcc is. */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { buildCudaTests, CUDA_FOLDER } from './build.mjs';
import { runQuietly } from './command.mjs';
import { fingerprint, unlessUnchanged } from './fingerprint.mjs';
import { StepFailure } from './terminal.mjs';

const BUILD_FOLDER = '.cache/native-tests';

/** One test for each of CTest's. @returns {Promise<import('./test-file.mjs').TestResult>} */
export async function runNativeTests() {
  try {
    await unlessUnchanged({ name: 'native-tests', fingerprint: fingerprint(['native']), makes: `${BUILD_FOLDER}/CTestTestfile.cmake` }, async () => {
      await runQuietly('cmake', ['-S', 'native', '-B', BUILD_FOLDER]);
      await runQuietly('cmake', ['--build', BUILD_FOLDER, '--parallel', String(availableParallelism())]);
    });
    return { ...countsOf(await runQuietly('ctest', ['--test-dir', BUILD_FOLDER, '--no-tests=error', '--output-on-failure'])), failures: [] };
  } catch (error) {
    if (!(error instanceof StepFailure)) throw error;
    const counts = countsOf(error.output);
    return { ...counts, failed: Math.max(1, counts.failed), failures: [{ name: error.message, detail: error.output }] };
  }
}

/** On a machine without a GPU, or without nvcc, the note says so: the kernels' text is then tested in the emulator, with the core. @returns {Promise<import('./test-file.mjs').TestResult>} */
export async function runCudaTests() {
  try {
    await buildCudaTests();
    if (!existsSync(`${CUDA_FOLDER}/CTestTestfile.cmake`)) return { passed: 0, failed: 0, skipped: 1, failures: [], notes: ['there is no nvcc: nothing is compiled for GPUs'] };
    const output = await runQuietly('ctest', ['--test-dir', CUDA_FOLDER, '--output-on-failure']);
    const counts = countsOf(output);
    const skipped = (output.match(/\*\*\*Skipped/g) ?? []).length;
    return { ...counts, passed: counts.passed - skipped, skipped, failures: [], notes: skipped > 0 ? ['there is no GPU: the kernels are compiled for sm_80, sm_90, sm_90a and sm_100, not run'] : [] };
  } catch (error) {
    if (!(error instanceof StepFailure)) throw error;
    const counts = countsOf(error.output);
    return { ...counts, failed: Math.max(1, counts.failed), failures: [{ name: error.message, detail: error.output }] };
  }
}

/** From CTest's summary: `75% tests passed, 1 tests failed out of 4`. */
function countsOf(output) {
  const summary = /(\d+) tests? failed out of (\d+)/.exec(output);
  const failed = Number(summary?.[1] ?? 0);
  return { passed: Number(summary?.[2] ?? 0) - failed, failed, skipped: 0 };
}
