/** Many independent tasks of all lengths, in bursts. Each that may be retried often enough ends well, and its value is right. */
import type { ObjectRef } from '@muster/core/internal';
import { integer, oneOf } from '../cluster.js';
import { UserError } from '../program.js';
import type { Workload } from '../scenario.js';
import { DEATHS, expectValue, PLENTY } from './expecting.js';

const KINDS = [['quick', 300, 1], ['medium', 60, 2], ['idle', 60, 3], ['long', 12, 4], ['flaky', 20, 5], ['asking', 30, 6]] as const;

/** Tasks of all lengths. */
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
      /** Gives back what its worker holds ahead while it waits. */
      *asking(code, x: number) {
        yield* code.work(0.3);
        const five = (yield* code.get(code.call('quick', [4], { retries: PLENTY }))) as number;
        yield* code.work(0.3);
        return x + 1 + five;
      },
      *flaky(code, x: number) {
        yield* code.work(1);
        if (code.task!.running.attempt < 2) throw new UserError('not yet');
        return x + 5;
      },
    },
  },
  nodes: (random) => Array.from({ length: integer(random, 1, 4) }, () => ({ cpus: integer(random, 1, 4) })),
  start: (scene) => {
    const { random } = scene;
    const isFlakiness = (error: unknown): boolean => error instanceof UserError;
    scene.driver(function* (code) {
      for (let bursts = integer(random, 1, 4); bursts > 0; bursts--) {
        const made: { ref: ObjectRef; value: number; retries: number }[] = [];
        for (let kinds = integer(random, 1, 4); kinds > 0; kinds--) {
          const [name, most, added] = oneOf(random, KINDS);
          const retries = name === 'flaky' ? PLENTY : oneOf(random, [0, 1, PLENTY]);
          for (let count = integer(random, 1, most); count > 0; count--) {
            made.push({ ref: code.call(name, [count], { retries, retryOn: name === 'flaky' ? isFlakiness : undefined }), value: count + added, retries });
          }
        }
        for (const { ref, value, retries } of made) {
          yield* expectValue(scene, code, ref, value, retries < PLENTY ? DEATHS : []);
          code.drop(ref);
        }
        yield* code.sleep(integer(random, 0, 1500));
      }
    });
  },
};
