/** Tasks that wait for tasks that wait for tasks, on clusters with hardly a cpu: a parent that kept its cpu while it waits would wait for ever. */
import { integer } from '../cluster.js';
import type { Workload } from '../scenario.js';
import { expectValue, PLENTY } from './expecting.js';

/** Tasks that wait for tasks. */
export const nested: Workload = {
  name: 'nested',
  library: {
    classes: {},
    functions: {
      *tree(code, depth: number, width: number) {
        if (depth === 0) {
          yield* code.work(1);
          return 1;
        }
        const children = Array.from({ length: width }, () => code.call('tree', [depth - 1, width], { retries: PLENTY }));
        if (depth % 2 === 0) yield* code.work(3);
        let sum = 0;
        for (const count of (yield* code.getAll(children)) as number[]) sum += count;
        return sum;
      },
    },
  },
  nodes: (random) => Array.from({ length: integer(random, 1, 3) }, () => ({ cpus: integer(random, 1, 2) })),
  start: (scene) => {
    const { random } = scene;
    scene.driver(function* (code) {
      const trees = Array.from({ length: integer(random, 1, 3) }, () => {
        const depth = integer(random, 1, 4);
        const width = integer(random, 1, 3);
        return { ref: code.call('tree', [depth, width], { retries: PLENTY }), leaves: width ** depth };
      });
      for (const { ref, leaves } of trees) yield* expectValue(scene, code, ref, leaves);
    });
  },
};
