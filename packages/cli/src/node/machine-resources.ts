/** What this machine, or the container that it is, has to offer. */
import { readdirSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';

/** The rest is for the object store. */
const MEMORY_SHARE = 0.7;

export const machineCpus = (): number => availableParallelism();

/** Memory for tasks that ask for it. */
export function machineMemoryBytes(): number {
  return Math.floor(Math.min(totalmem(), process.constrainedMemory() || Infinity) * MEMORY_SHARE);
}

/** NVIDIA's GPUs: those that CUDA_VISIBLE_DEVICES leaves to this process, else all. */
export function machineGpus(): number {
  const visible = process.env['CUDA_VISIBLE_DEVICES'];
  if (visible !== undefined) return visible.split(',').filter((id) => id.trim() !== '' && id.trim() !== '-1').length;
  try {
    return readdirSync('/dev').filter((name) => /^nvidia\d+$/.test(name)).length;
  } catch {
    return 0;
  }
}
