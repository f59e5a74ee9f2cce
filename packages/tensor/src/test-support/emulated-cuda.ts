/** A GPU for tests: native/cuda's kernels in the emulator, whose memory is the host's. The native core's tests build it. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openCudaLibrary } from '@muster/native';
import type { CudaLibrary } from '@muster/native/cuda';

const BUILT = fileURLToPath(new URL('../../../../.cache/native-tests/libmuster_cuda_emulator.so', import.meta.url));

/** The emulator, or why it is not there. */
export function emulatedCuda(): CudaLibrary | string {
  const path = process.env['MUSTER_CUDA_EMULATOR'] ?? BUILT;
  if (!existsSync(path)) return `the emulator ${path} was not built: run the native core's tests first`;
  const cuda = openCudaLibrary(path, true);
  return cuda.available ? cuda : cuda.reason;
}
