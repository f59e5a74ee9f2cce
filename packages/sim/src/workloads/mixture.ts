/** Long tasks beside short ones of the same function: the short ones do not wait for the long ones, because workers hold little work ahead. */
import { integer } from '../cluster.js';
import type { Workload } from '../scenario.js';
import { expectValue, PLENTY } from './expecting.js';

const LONG_MS = 3000;

/** Long tasks beside short ones. */
export const mixture: Workload = {
  name: 'mixture',
  library: {
    classes: {},
    functions: {
      *compute(code, durationMs: number) {
        yield* code.work(durationMs);
        return durationMs;
      },
    },
  },
  nodes: (random) => Array.from({ length: integer(random, 1, 2) }, () => ({ cpus: integer(random, 2, 4) })),
  start: (scene) => {
    const { random } = scene;
    scene.driver(function* (code) {
      const warmUp = Array.from({ length: 50 }, () => code.call('compute', [0.1], { retries: PLENTY }));
      yield* code.getAll(warmUp);
      const startMs = code.nowMs;
      const long = code.call('compute', [LONG_MS], { retries: PLENTY });
      const short = Array.from({ length: integer(random, 100, 300) }, () => code.call('compute', [0.5], { retries: PLENTY }));
      // Those that were sent behind the long one cannot be had back before it ends; the others can.
      const share = Math.floor(short.length * 0.9);
      yield* code.wait(short, share);
      const tookMs = code.nowMs - startMs;
      if (!scene.hasFaults) scene.expect(tookMs < LONG_MS / 2, `${share} short tasks took ${tookMs.toFixed(0)} ms beside a long one`);
      yield* expectValue(scene, code, long, LONG_MS);
      yield* code.getAll(short);
    });
  },
};
