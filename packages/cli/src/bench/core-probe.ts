/**
 * How much of a core a process has. A virtual machine's cores may lie on one core of the hardware, or share it with another machine's, for seconds at a time; what runs on them then is slowed by what
 * it cannot help. Products of matrices that stay in a core's own caches tell: other processes slow them only by taking of the core itself.
 */
import { randn, tidy } from '@muster/tensor';

/** Of the matrices: three of them fit the second cache of any processor. */
const SIDE = 128;
const PROBE_MS = 10;

/** A probe that runs on one thread: each call returns how many products a millisecond it made. */
export function coreProbe(): () => number {
  const [left, right] = [randn([SIDE, SIDE]), randn([SIDE, SIDE])];
  return () => {
    const startMs = performance.now();
    let products = 0;
    let elapsedMs = 0;
    while (elapsedMs < PROBE_MS) {
      tidy(() => void left.matmul(right));
      products++;
      elapsedMs = performance.now() - startMs;
    }
    return products / elapsedMs;
  };
}
