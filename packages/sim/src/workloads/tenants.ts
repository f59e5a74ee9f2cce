/** Several drivers that want the whole cluster. Each gets its share: nobody ends long after the others. */
import { integer } from '../cluster.js';
import type { Workload } from '../scenario.js';
import { expectValue, PLENTY } from './expecting.js';

const TASK_MS = 40;
/** Whoever comes late may have to wait for a worker of its own. */
const WORKER_START_MS = 1500;
/** Five cpus among four drivers leave one with twice the others' share for all of its life; leases that change hands cost each some more. */
const UNEVEN_MAX = 3;

/** Drivers that share. */
export const tenants: Workload = {
  name: 'tenants',
  library: {
    classes: {},
    functions: {
      *compute(code, x: number) {
        yield* code.work(TASK_MS);
        return x;
      },
    },
  },
  nodes: (random) => Array.from({ length: integer(random, 1, 2) }, () => ({ cpus: integer(random, 2, 4) })),
  start: (scene) => {
    const { random } = scene;
    const count = integer(random, 2, 4);
    const taskCount = integer(random, 40, 120);
    const endsMs: number[] = [];
    for (let driver = 0; driver < count; driver++) {
      const delayMs = driver === 0 ? 0 : integer(random, 0, 500);
      scene.driver(function* (code) {
        yield* code.sleep(delayMs);
        const startMs = code.nowMs;
        const refs = Array.from({ length: taskCount }, (_, x) => code.call('compute', [x], { retries: PLENTY }));
        for (const [x, ref] of refs.entries()) yield* expectValue(scene, code, ref, x);
        endsMs.push(code.nowMs - startMs);
        if (endsMs.length < count || scene.hasFaults) return;
        const [shortestMs, longestMs] = [Math.min(...endsMs), Math.max(...endsMs)];
        scene.expect(longestMs < UNEVEN_MAX * shortestMs + WORKER_START_MS, `of ${count} drivers with equal work, one took ${longestMs.toFixed(0)} ms, another ${shortestMs.toFixed(0)} ms`);
      });
    }
  },
};
