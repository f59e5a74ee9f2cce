/** A GPU for tests: native/cuda's kernels in the emulator, whose memory is the host's. */
import { openCudaLibrary } from '@muster/native';
import type { CudaLibrary } from '@muster/native/cuda';
import { emulatorLacks, emulatorPath } from '@muster/native/cuda-emulator';

/** The emulator, or why it is not there. */
export function emulatedCuda(): CudaLibrary | string {
  const lacks = emulatorLacks();
  if (lacks !== null) return lacks;
  const cuda = openCudaLibrary(emulatorPath(), true);
  return cuda.available ? cuda : cuda.reason;
}
