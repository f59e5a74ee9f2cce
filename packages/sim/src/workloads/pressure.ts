/** More data than memory: object stores that are a few objects large evict and spill, and all of it can be read again. */
import type { ObjectRef } from '@muster/core/internal';
import { integer } from '../cluster.js';
import type { Workload } from '../scenario.js';
import { Large } from '../values.js';
import { expectValue, PLENTY } from './expecting.js';

const MIB = 2 ** 20;

/** Object stores that are full. */
export const pressure: Workload = {
  name: 'pressure',
  library: {
    classes: {},
    functions: {
      *make(code, x: number, sizeBytes: number) {
        yield* code.work(2);
        return new Large(x, sizeBytes);
      },
      *add(code, x: number, y: number) {
        yield* code.work(2);
        return x + y;
      },
    },
  },
  nodes: (random) => Array.from({ length: integer(random, 1, 3) }, () => ({ cpus: integer(random, 1, 3), objectStoreBytes: integer(random, 8, 16) * MIB })),
  start: (scene) => {
    const { random } = scene;
    scene.driver(function* (code) {
      const made: ObjectRef[] = [];
      for (let x = 0; x < 24; x++) {
        const sizeBytes = integer(random, 1, 12) * (MIB / 8);
        made.push(random.next() < 0.3 ? yield* code.put(new Large(x, sizeBytes)) : code.call('make', [x, sizeBytes], { retries: PLENTY }));
      }
      const sums = Array.from({ length: 20 }, () => {
        const x = integer(random, 0, made.length - 1);
        const y = integer(random, 0, made.length - 1);
        return { ref: code.call('add', [made[x], made[y]], { retries: PLENTY }), value: x + y };
      });
      for (const { ref, value } of sums) yield* expectValue(scene, code, ref, value);
      for (const [x, ref] of made.entries()) {
        if (random.next() < 0.5) yield* expectValue(scene, code, ref, x);
        code.drop(ref);
      }
    });
  },
};
