/** Tasks that are cancelled or run out of time, wherever they are: queued, running, deaf, or waiting for others. Nothing of them goes on. */
import type { ErrorCode } from '@muster/base';
import { RefState, type ObjectRef } from '@muster/core/internal';
import { integer, oneOf } from '../cluster.js';
import type { CodeContext } from '../code-context.js';
import { UserError, type Program } from '../program.js';
import type { Scene, Workload } from '../scenario.js';
import { DEATHS, expectFailure, expectValue, PLENTY } from './expecting.js';

const CANCELLED: readonly ErrorCode[] = ['TASK_CANCELLED'];

/** Cancels some of those that wait in a worker behind a long one: it was sent many ahead, because they used to be short. */
function* thinOut(scene: Scene, code: CodeContext): Program<void> {
  const { random } = scene;
  yield* code.getAll(Array.from({ length: 40 }, () => code.call('compute', [0.1], { retries: PLENTY })));
  const refs = [60, ...Array.from({ length: 30 }, () => 0.1)].map((durationMs) => ({ ref: code.call('compute', [durationMs], { retries: PLENTY }), durationMs }));
  yield* code.sleep(oneOf(random, [1, 5, 30]));
  for (const { ref, durationMs } of refs) {
    const isCancelled = random.next() < 0.5 && ref.state === RefState.pending;
    if (isCancelled) code.cancel(ref);
    if (isCancelled) yield* expectFailure(code, ref, CANCELLED);
    else if (random.next() < 0.3) yield* expectValue(scene, code, ref, durationMs);
  }
  for (const { ref, durationMs } of refs) if (ref.state !== RefState.failed) yield* expectValue(scene, code, ref, durationMs);
}

/** Tasks that are told to stop. */
export const cancellation: Workload = {
  name: 'cancellation',
  library: {
    classes: {},
    functions: {
      /** Goes on until it is told to stop. */
      *patient(code) {
        for (let turns = 0; turns < 10_000; turns++) {
          if (code.task!.running.isCancelled) throw new UserError('stopped');
          yield* code.sleep(5);
        }
        return 0;
      },
      /** Never looks up. */
      *deaf(code) {
        for (let turns = 0; turns < 1000; turns++) yield* code.work(60);
        return 0;
      },
      *parent(code) {
        const children = Array.from({ length: 3 }, () => code.call('patient', [], { retries: PLENTY }));
        yield* code.getAll(children);
        return 0;
      },
      /** Holds references while it waits its turn. */
      *holder(code, refs: ObjectRef[]) {
        yield* code.getAll(refs);
        return 0;
      },
      *quick(code, x: number) {
        yield* code.work(1);
        return x;
      },
      *compute(code, durationMs: number) {
        yield* code.work(durationMs);
        return durationMs;
      },
    },
  },
  nodes: (random) => Array.from({ length: integer(random, 1, 3) }, () => ({ cpus: integer(random, 1, 3) })),
  start: (scene) => {
    const { random } = scene;
    scene.driver(function* (code) {
      for (let rounds = integer(random, 1, 4); rounds > 0; rounds--) {
        const doomed: { ref: ObjectRef; isForced: boolean }[] = [];
        const late: ObjectRef[] = [];
        const kept: ObjectRef[] = [];
        for (let count = integer(random, 2, 12); count > 0; count--) {
          const name = oneOf(random, ['patient', 'parent', 'deaf', 'holder', 'quick', 'late']);
          if (name === 'holder') {
            const held = code.call('patient', [], { retries: PLENTY });
            doomed.push({ ref: code.call('holder', [[held]], { retries: PLENTY }), isForced: false }, { ref: held, isForced: false });
          } else if (name === 'quick') kept.push(code.call('quick', [7], { retries: PLENTY }));
          else if (name === 'late') late.push(code.call(oneOf(random, ['patient', 'deaf']), [], { retries: PLENTY, timeoutMs: integer(random, 20, 400) }));
          else doomed.push({ ref: code.call(name, [], { retries: PLENTY }), isForced: name === 'deaf' || random.next() < 0.2 });
        }
        yield* code.sleep(oneOf(random, [0, 1, 20, 300]));
        for (const { ref, isForced } of doomed) code.cancel(ref, isForced);
        for (const { ref } of doomed) yield* expectFailure(code, ref, CANCELLED);
        for (const ref of late) yield* expectFailure(code, ref, ['TIMEOUT']);
        for (const ref of kept) yield* expectValue(scene, code, ref, 7, DEATHS);
        if (random.next() < 0.5) yield* thinOut(scene, code);
      }
    });
  },
};
