/** The kernels of cuda/ in the emulator of cuda/emulator, whose GPU is the host: for tests. The native core's tests build its library. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Names the library that is meant, where it is another than the one of the tests. */
const PATH = 'MUSTER_CUDA_EMULATOR';
/** Of a process that is told which emulated GPU is its own, `openCuda` opens the emulator; the library reads it, too. */
const GPU = 'MUSTER_EMULATED_GPU';

const BUILT = fileURLToPath(new URL('../../.cache/native-tests/libmuster_cuda_emulator.so', import.meta.url));

export const emulatorPath = (): string => process.env[PATH] ?? BUILT;

/** Why tests that need the emulator cannot be run, or null. */
export function emulatorLacks(): string | null {
  return existsSync(emulatorPath()) ? null : `the emulator ${emulatorPath()} was not built: run the native core's tests first`;
}

/** Whether this process was told that its GPU is an emulated one. */
export const isEmulated = (): boolean => process.env[GPU] !== undefined;

/** What the environment of a process has whose GPU is an emulated one; processes of one number share a GPU, and those of different ones reach each other's memory. */
export const emulatedEnvironment = (gpu = 0): Readonly<Record<string, string>> => ({ [PATH]: emulatorPath(), [GPU]: String(gpu) });
