/** Many independent tasks of all lengths, in bursts. Each that may be retried often enough ends well, and its value is right. */
import { MusterError } from '@muster/base';
import type { ObjectRef } from '@muster/core/internal';
import { integer, oneOf } from '../cluster.js';
import { UserError } from '../program.js';
import type { Workload } from '../scenario.js';

/** More attempts than a run has faults. */
const PLENTY = 20;

interface Made {
  readonly ref: ObjectRef;
  readonly value: number;
  readonly retries: number;
}

export const tasks: Workload = {
  name: 'tasks',
  library: {
    classes: {},
    functions: {
      *quick(code, x: number) {
        yield* code.work(0.2);
        return x + 1;
      },
      *medium(code, x: number) {
        yield* code.work(8);
        return x + 2;
      },
      *idle(code, x: number) {
        yield* code.sleep(15);
        return x + 3;
      },
      *long(code, x: number) {
        yield* code.work(100);
        yield* code.sleep(100);
        return x + 4;
      },
      *flaky(code, x: number) {
        yield* code.work(1);
        if (code.task!.attempt < 2) throw new UserError('not yet');
        return x + 5;
      },
    },
  },
  nodes: (random) => Array.from({ length: integer(random, 1, 4) }, () => ({ cpus: integer(random, 1, 4) })),
  start: (scene) => {
    const { random } = scene;
    const bursts = integer(random, 1, 4);
    scene.driver(function* (code) {
      for (let burst = 0; burst < bursts; burst++) {
        const made: Made[] = [];
        const kinds = integer(random, 1, 4);
        for (let kind = 0; kind < kinds; kind++) {
          const [name, most, added] = oneOf(random, [['quick', 300, 1], ['medium', 60, 2], ['idle', 60, 3], ['long', 12, 4], ['flaky', 20, 5]] as const);
          const retries = name === 'flaky' ? PLENTY : oneOf(random, [0, 1, PLENTY]);
          for (let count = integer(random, 1, most); count > 0; count--) {
            const ref = code.call(name, [count], { retries, retryOn: name === 'flaky' ? (error) => error instanceof UserError : undefined });
            made.push({ ref, value: count + added, retries });
          }
        }
        for (const { ref, value, retries } of made) {
          try {
            const found = yield* code.get(ref);
            scene.expect(found === value, `${ref.id} is ${String(found)}, and should be ${value}`);
          } catch (error) {
            const isAllowed = scene.hasFaults && retries < PLENTY && error instanceof MusterError && (error.code === 'WORKER_DIED' || error.code === 'NODE_DIED');
            if (!isAllowed) throw error;
          }
          code.drop(ref);
        }
        yield* code.sleep(integer(random, 0, 1500));
      }
    });
  },
  check: () => {},
};
