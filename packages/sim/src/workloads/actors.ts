/** Actors with several callers. Calls of a caller run in order; an actor restarts as often as it may; calls that may be repeated get through. */
import type { ErrorCode } from '@muster/base';
import type { ObjectRef } from '@muster/core/internal';
import { integer, oneOf } from '../cluster.js';
import type { ActorHandle, CodeContext } from '../code-context.js';
import { UserError, type Program } from '../program.js';
import type { Scene, Workload } from '../scenario.js';
import { DEATHS, expectValue, PLENTY } from './expecting.js';

const INTERRUPTIONS: readonly ErrorCode[] = ['ACTOR_UNAVAILABLE', 'ACTOR_DIED'];
const METHODS = ['echo', 'ponder', 'doze', 'delegate'] as const;

/** Calls one actor, checks what comes back. */
function* converse(scene: Scene, code: CodeContext, handle: ActorHandle, isLasting: boolean): Program<void> {
  const { random } = scene;
  for (let rounds = integer(random, 1, 3); rounds > 0; rounds--) {
    const calls: { ref: ObjectRef; value: number; isSure: boolean }[] = [];
    for (let count = integer(random, 1, 20); count > 0; count--) {
      const retries = oneOf(random, [0, PLENTY]);
      calls.push({ ref: code.invoke(handle, oneOf(random, METHODS), [count], { retries }), value: count, isSure: isLasting && retries === PLENTY });
    }
    for (const { ref, value, isSure } of calls) yield* expectValue(scene, code, ref, value, isSure ? [] : INTERRUPTIONS);
    yield* code.sleep(integer(random, 0, 800));
  }
}

/** Actors and their callers. */
export const actors: Workload = {
  name: 'actors',
  library: {
    classes: {
      Echo: {
        *construct(code, constructionMs: number) {
          yield* code.work(constructionMs);
          return { count: 0 };
        },
        methods: {
          *echo(code, state: { count: number }, x: number) {
            yield* code.work(0.1);
            state.count++;
            return x;
          },
          *ponder(code, state: { count: number }, x: number) {
            yield* code.work(4);
            state.count++;
            return x;
          },
          *doze(code, state: { count: number }, x: number) {
            yield* code.sleep(4);
            state.count++;
            return x;
          },
          /** Its cpu may be the only one. */
          *delegate(code, state: { count: number }, x: number) {
            state.count++;
            return yield* code.get(code.call('same', [x], { retries: PLENTY }));
          },
        },
      },
      Broken: {
        *construct() {
          throw new UserError('it cannot be made');
        },
        methods: {},
      },
    },
    functions: {
      *same(code, x: number) {
        yield* code.work(2);
        return x;
      },
      *caller(code, handle: ActorHandle, calls: number) {
        const refs = Array.from({ length: calls }, (_, x) => code.invoke(handle, 'echo', [x], { retries: PLENTY }));
        const values = (yield* code.getAll(refs)) as number[];
        return values.length;
      },
    },
  },
  nodes: (random) => Array.from({ length: integer(random, 1, 3) }, () => ({ cpus: integer(random, 1, 3) })),
  start: (scene) => {
    const { random } = scene;
    for (let drivers = integer(random, 1, 2); drivers > 0; drivers--) {
      scene.driver(function* (code) {
        if (random.next() < 0.2) yield* expectUserError(code);
        for (let count = integer(random, 1, 3); count > 0; count--) {
          const maxRestarts = oneOf(random, [0, 1, -1, -1]);
          const isLasting = maxRestarts === -1;
          const cpus = oneOf(random, [0, 0, 1]);
          let handle: ActorHandle;
          try {
            handle = yield* code.create('Echo', [oneOf(random, [0, 20])], { maxRestarts, maxConcurrency: oneOf(random, [1, 4]), cpus });
          } catch (error) {
            if (!scene.hasFaults || isLasting || (error as { code?: string }).code !== 'ACTOR_DIED') throw error;
            continue;
          }
          const callers = isLasting ? Array.from({ length: integer(random, 0, 3) }, () => code.call('caller', [handle, 10], { retries: PLENTY, cpus: 0 })) : [];
          yield* converse(scene, code, handle, isLasting);
          for (const caller of callers) yield* expectValue(scene, code, caller, 10, DEATHS);
          if (cpus > 0 || random.next() < 0.5) yield* code.kill(handle); // or the next one might wait for its cpu
        }
      });
    }
  },
};

function* expectUserError(code: CodeContext): Program<void> {
  try {
    yield* code.create('Broken');
  } catch (error) {
    if (error instanceof UserError) return;
    if ((error as { code?: string }).code !== 'ACTOR_DIED') throw error;
  }
}
