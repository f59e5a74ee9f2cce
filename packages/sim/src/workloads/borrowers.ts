/**
 * References that travel inside of values: to tasks, into actors and back, and from the tasks that made them. Whoever holds one can read it,
 * and when nobody does it is gone.
 */
import type { ErrorCode } from '@muster/base';
import type { ObjectRef } from '@muster/core/internal';
import { integer, oneOf } from '../cluster.js';
import type { ActorHandle } from '../code-context.js';
import type { Program } from '../program.js';
import type { Workload } from '../scenario.js';
import { Large } from '../values.js';
import { expectValue, PLENTY } from './expecting.js';

/** What may happen to the holder of somebody else's reference. */
const LOSSES: readonly ErrorCode[] = ['OWNER_DIED', 'OBJECT_LOST', 'OBJECT_FREED', 'WORKER_DIED', 'NODE_DIED', 'ACTOR_DIED', 'ACTOR_UNAVAILABLE'];

/** References inside of values. */
export const borrowers: Workload = {
  name: 'borrowers',
  library: {
    classes: {
      Shelf: {
        *construct() {
          return [];
        },
        methods: {
          *store(_code, state: ObjectRef[], [ref]: [ObjectRef]) {
            state.push(ref);
            return state.length;
          },
          *read(code, state: ObjectRef[]) {
            let sum = 0;
            for (const ref of state) sum += (yield* code.get(ref)) as number;
            return sum;
          },
          *give(code, state: ObjectRef[]) {
            const given = state.map(code.hold); // a variable of the code holds them while it sleeps
            state.length = 0;
            yield* code.sleep(1);
            return given;
          },
        },
      },
    },
    functions: {
      /** Reads references inside of its argument. */
      *sum(code, refs: ObjectRef[]) {
        let sum = 0;
        for (const value of (yield* code.getAll(refs)) as number[]) sum += value;
        return sum;
      },
      /** Hands the references on to another task. */
      *handOn(code, refs: ObjectRef[], depth: number) {
        if (depth === 0) return yield* code.get(code.call('sum', [refs], { retries: PLENTY }));
        return yield* code.get(code.call('handOn', [refs, depth - 1], { retries: PLENTY }));
      },
      /** Returns references that this worker owns. */
      *bear(code, x: number) {
        const small = yield* code.put([x]);
        const large = yield* code.put(new Large(x, 150_000));
        return [small, large, code.call('leaf', [x], { retries: PLENTY })];
      },
      *leaf(code, x: number) {
        yield* code.work(2);
        return x;
      },
    },
  },
  nodes: (random) => Array.from({ length: integer(random, 1, 3) }, () => ({ cpus: integer(random, 1, 3) })),
  start: (scene) => {
    const { random } = scene;
    scene.driver(function* (code) {
      const shelf: ActorHandle = yield* code.create('Shelf', [], { maxRestarts: -1 });
      for (let rounds = integer(random, 1, 5); rounds > 0; rounds--) {
        const x = integer(random, 1, 100);
        switch (oneOf(random, ['nest', 'pass', 'bear', 'shelve'])) {
          case 'nest': {
            const refs = [yield* code.put(new Large(x, 200_000)), code.call('leaf', [1], { retries: PLENTY })];
            const sum = code.call('handOn', [refs, integer(random, 0, 3)], { retries: PLENTY });
            if (random.next() < 0.5) for (const ref of refs) code.drop(ref);
            yield* expectValue(scene, code, sum, x + 1, LOSSES);
            break;
          }
          case 'pass': {
            const inner = code.call('leaf', [x], { retries: PLENTY });
            const outer = yield* code.put([inner]);
            code.drop(inner);
            yield* expectValue(scene, code, code.call('sum', [outer], { retries: PLENTY }), x, LOSSES);
            break;
          }
          case 'bear': {
            const born = code.call('bear', [x], { retries: PLENTY });
            const [small, large, leaf] = (yield* code.get(born)) as ObjectRef[];
            if (random.next() < 0.5) code.drop(born);
            yield* code.sleep(integer(random, 0, 400));
            yield* expectValue(scene, code, small!, [x], LOSSES);
            yield* expectValue(scene, code, large!, x, LOSSES);
            yield* expectValue(scene, code, leaf!, x, LOSSES);
            break;
          }
          default: {
            const ref = random.next() < 0.5 ? yield* code.put(new Large(x, 200_000)) : code.call('leaf', [x], { retries: PLENTY });
            const isStored = (yield* got(code.invoke(shelf, 'store', [[ref]]), 0)) > 0;
            code.drop(ref);
            yield* code.sleep(integer(random, 0, 600));
            if (!isStored) break;
            const read = code.invoke(shelf, 'read');
            const given = code.invoke(shelf, 'give');
            const sum = yield* got(read, 0);
            scene.expect(sum === x || (scene.hasFaults && sum === 0), `the shelf adds up to ${sum}, and should to ${x}`); // a new one is empty
            const refs = yield* got<ObjectRef[]>(given, []);
            if (refs.length > 0) yield* expectValue(scene, code, refs[0]!, x, LOSSES);
          }
        }
      }

      function* got<Value>(call: ObjectRef, otherwise: Value): Program<Value> {
        try {
          return (yield* code.get(call)) as Value;
        } catch (error) {
          if (!scene.hasFaults || !LOSSES.includes((error as { code: ErrorCode }).code)) throw error;
          return otherwise;
        }
      }
    });
  },
};
