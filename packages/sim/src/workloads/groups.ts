/**
 * Placement groups with tasks and actors in their bundles. What is made in a group runs there, groups that lose nodes are repaired, and removed ones end
 * what runs in them. The ledger sees to it that groups are whole or absent, and that nothing is held twice.
 */
import { MusterError } from '@muster/base';
import type { ObjectRef } from '@muster/core/internal';
import { integer, oneOf } from '../cluster.js';
import type { CodeContext } from '../code-context.js';
import { Violation } from '../violation.js';
import type { Program } from '../program.js';
import type { Scene, Workload } from '../scenario.js';
import { expectFailure, expectValue, PLENTY } from './expecting.js';

/** The first node, which faults spare, has room for any group that may lie on one node. */
const HOME_CPUS = 4;

function checkGroup(code: CodeContext, groupId: string): void {
  if (code.bundle?.groupId !== groupId) throw new Violation(`a task of ${groupId} runs in ${code.bundle?.groupId ?? 'no group'}`);
}

/** Works in a group that is there. */
function* workIn(scene: Scene, code: CodeContext, groupId: string, bundleCount: number): Program<void> {
  const { random } = scene;
  const made: { ref: ObjectRef; value: number }[] = [];
  for (let x = integer(random, 1, 12); x > 0; x--) {
    const bundle = oneOf(random, [undefined, integer(random, 0, bundleCount - 1)]);
    const captures = random.next() < 0.3;
    made.push({ ref: code.call(captures ? 'parent' : 'compute', [x, groupId], { retries: PLENTY, group: { groupId, bundle, captures } }), value: x });
  }
  if (random.next() < 0.4) {
    const handle = yield* code.create('Member', [groupId], { maxRestarts: -1, group: { groupId, bundle: integer(random, 0, bundleCount - 1) } });
    for (let x = 1; x <= 5; x++) made.push({ ref: code.invoke(handle, 'echo', [x], { retries: PLENTY }), value: x });
  }
  for (const { ref, value } of made) yield* expectValue(scene, code, ref, value);
}

/** What is asked of a group that was removed fails, whatever it does at that moment. */
function* removeBusy(scene: Scene, code: CodeContext, groupId: string): Program<void> {
  const refs = Array.from({ length: integer(scene.random, 1, 4) }, (_, x) => code.call('doze', [x], { retries: PLENTY, group: { groupId } }));
  yield* code.sleep(integer(scene.random, 0, 100));
  yield* code.removeGroup(groupId);
  for (const ref of refs) yield* expectFailure(code, ref, ['UNSCHEDULABLE']);
}

/** Groups. */
export const groups: Workload = {
  name: 'groups',
  library: {
    classes: {
      Member: {
        *construct(code, groupId: string) {
          yield* code.work(1);
          if (code.bundle?.groupId !== groupId) throw new Violation(`an actor of ${groupId} is made in ${code.bundle?.groupId ?? 'no group'}`);
          return {};
        },
        methods: {
          *echo(code, _state: object, x: number) {
            yield* code.work(1);
            return x;
          },
        },
      },
    },
    functions: {
      *compute(code, x: number, groupId: string) {
        checkGroup(code, groupId);
        yield* code.work(3);
        yield* code.sleep(5);
        return x;
      },
      *parent(code, x: number, groupId: string) {
        checkGroup(code, groupId);
        const children = [0, 1].map(() => code.call('compute', [x, groupId], { retries: PLENTY }));
        const values = (yield* code.getAll(children)) as number[];
        return values[0]!;
      },
      *doze(code) {
        yield* code.sleep(60_000);
      },
      *outside(code, x: number) {
        yield* code.work(10);
        return x;
      },
    },
  },
  nodes: (random) => [{ cpus: HOME_CPUS }, ...Array.from({ length: integer(random, 0, 3) }, () => ({ cpus: integer(random, 1, 4) }))],
  start: (scene) => {
    const { random, cluster } = scene;
    const nodeCount = cluster.nodes.length;
    const driverCount = integer(random, 1, 3);
    for (let driver = 0; driver < driverCount; driver++) {
      scene.driver(function* (code) {
        for (let rounds = integer(random, 1, 4); rounds > 0; rounds--) {
          const strategy = oneOf(random, ['pack', 'spread', 'strict-pack', 'strict-spread']);
          const count = integer(random, 1, strategy === 'strict-spread' ? nodeCount : HOME_CPUS);
          const outside = Array.from({ length: integer(random, 0, 5) }, (_, x) => code.call('outside', [x], { retries: PLENTY }));
          const groupId = yield* code.placementGroup(Array.from({ length: count }, () => ({ cpus: 1 })), strategy);
          yield* workIn(scene, code, groupId, count);
          if (random.next() < 0.3) yield* removeBusy(scene, code, groupId);
          else if (driverCount > 1 || random.next() < 0.5) yield* code.removeGroup(groupId);
          else return; // it ends with the driver: nobody else waits for its room
          for (const [x, ref] of outside.entries()) yield* expectValue(scene, code, ref, x);
        }
      });
    }
    scene.driver(function* (code) {
      try {
        yield* code.placementGroup(Array.from({ length: nodeCount + 1 }, () => ({ cpus: 1 })), 'strict-spread');
        throw new Violation('a group lies on more nodes than there are');
      } catch (error) {
        if (!(error instanceof MusterError) || error.code !== 'UNSCHEDULABLE') throw error;
      }
    });
  },
};
