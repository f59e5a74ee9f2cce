/** Tasks on whole GPUs, on several and on parts of one, beside each other. The ledger sees to it that no GPU is given away twice. */
import { integer, oneOf } from '../cluster.js';
import type { Workload } from '../scenario.js';
import { expectValue, PLENTY } from './expecting.js';

/** The first node, which faults spare, has as many as the largest task asks for. */
const GPUS_MAX = 2;
const AMOUNTS = [0.25, 0.3, 0.5, 0.6, 1, GPUS_MAX];

/** Tasks on GPUs. */
export const devices: Workload = {
  name: 'devices',
  library: {
    classes: {},
    functions: {
      *compute(code, x: number) {
        yield* code.work(5);
        yield* code.sleep(15);
        return x;
      },
    },
  },
  nodes: (random) => [
    { cpus: 4, resources: { gpu: GPUS_MAX } }, ...Array.from({ length: integer(random, 0, 2) }, () => ({ cpus: 4, resources: { gpu: integer(random, 1, 3) } })),
  ],
  start: (scene) => {
    const { random } = scene;
    for (let drivers = integer(random, 1, 3); drivers > 0; drivers--) {
      const tasks = Array.from({ length: integer(random, 20, 60) }, (_, x) => ({ x, gpus: oneOf(random, AMOUNTS) }));
      scene.driver(function* (code) {
        const refs = tasks.map(({ x, gpus }) => code.call('compute', [x], { gpus, cpus: 0, retries: PLENTY }));
        for (const { x } of tasks) yield* expectValue(scene, code, refs[x]!, x);
      });
    }
  },
};
