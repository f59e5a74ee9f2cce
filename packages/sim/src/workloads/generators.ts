/** Generators whose values are small, large or references, consumed slowly or fast, to the end or not: each value comes once and in order, also after a retry. */
import { MusterError, type ErrorCode } from '@muster/base';
import { RefState, type ObjectRef } from '@muster/core/internal';
import { integer, oneOf } from '../cluster.js';
import type { CodeContext } from '../code-context.js';
import { UserError, type Program } from '../program.js';
import type { Scene, Workload } from '../scenario.js';
import { Large } from '../values.js';
import { Violation } from '../violation.js';
import { DEATHS, expectFailure, expectValue, PLENTY } from './expecting.js';

/** A large value lies where it was made, and what was yielded is not made again. */
const LOSSES: readonly ErrorCode[] = ['OBJECT_LOST'];
/** How a generator makes its values. */
const KINDS = ['small', 'large', 'reference'] as const;

/** Takes so many values of a generator, and what it comes to. */
function* consume(scene: Scene, code: CodeContext, count: number): Program<void> {
  const { random } = scene;
  const kind = oneOf(random, KINDS);
  const taken = oneOf(random, [count, count, integer(random, 0, count)]);
  const stream = code.stream('count', [count, kind, oneOf(random, [0, 0, 0.2, 5])], { retries: PLENTY });
  const pauseMs = oneOf(random, [0, 0, 1, 30]);
  for (let index = 0; index < taken; index++) {
    const ref = yield* code.next(stream);
    if (!ref) throw new Violation(`${stream.end.id} ended after ${index} values of ${count}`);
    if (kind !== 'reference') yield* expectValue(scene, code, ref, index, LOSSES);
    else if (!scene.hasFaults) { // with the worker dies what it owns
      const [inner] = (yield* code.get(ref)) as [ObjectRef];
      yield* expectValue(scene, code, code.hold(inner), [index], [...LOSSES, 'OWNER_DIED', 'OBJECT_FREED']);
      code.drop(inner);
    }
    code.drop(ref);
    if (pauseMs > 0 && index % 16 === 0) yield* code.sleep(pauseMs);
  }
  if (taken < count) {
    const hasEnded = stream.end.state !== RefState.pending;
    code.leave(stream);
    if (!hasEnded) return yield* expectFailure(code, stream.end, ['TASK_CANCELLED']);
  } else if (yield* code.next(stream)) throw new Violation(`${stream.end.id} has more than ${count} values`);
  code.leave(stream);
  yield* expectValue(scene, code, stream.end, count);
}

/** Takes the values of a generator that breaks, and then its error. */
function* consumeBroken(scene: Scene, code: CodeContext, count: number): Program<void> {
  const stream = code.stream('broken', [count]);
  let index = 0;
  try {
    for (let ref = yield* code.next(stream); ref; ref = yield* code.next(stream)) yield* expectValue(scene, code, ref, index++);
  } catch (error) {
    if (scene.hasFaults && error instanceof MusterError && DEATHS.includes(error.code)) return;
    if (!(error instanceof UserError) || index !== count) throw error;
  } finally {
    code.leave(stream);
  }
}

/** Generators. */
export const generators: Workload = {
  name: 'generators',
  library: {
    classes: {},
    functions: {
      *count(code, count: number, kind: (typeof KINDS)[number], workMs: number) {
        for (let index = 0; index < count; index++) {
          if (workMs > 0) yield* code.work(workMs);
          let value: unknown = index;
          if (kind === 'large') value = new Large(index, 150_000);
          else if (kind === 'reference') value = [yield* code.put([index])];
          const isWanted = yield* code.task!.emit(value);
          if (kind === 'reference') code.drop((value as [ObjectRef])[0]);
          if (!isWanted) return;
        }
      },
      *broken(code, count: number) {
        for (let index = 0; index < count; index++) yield* code.task!.emit(index);
        throw new UserError('it broke');
      },
    },
  },
  nodes: (random) => Array.from({ length: integer(random, 1, 3) }, () => ({ cpus: integer(random, 1, 3) })),
  start: (scene) => {
    const { random } = scene;
    for (let drivers = integer(random, 1, 2); drivers > 0; drivers--) {
      scene.driver(function* (code) {
        for (let rounds = integer(random, 1, 4); rounds > 0; rounds--) yield* consume(scene, code, oneOf(random, [0, 3, 40, 200]));
        yield* consumeBroken(scene, code, integer(random, 0, 100));
      });
    }
  },
};
