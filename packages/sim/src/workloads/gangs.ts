/**
 * Gangs whose members work in lockstep. Members of a gang that restarts together agree after every round that got through, however many died: all of them
 * went back to the same checkpoint. The ledger sees to it that each rank begins once in each incarnation.
 */
import { MusterError, type ErrorCode } from '@muster/base';
import { integer, oneOf } from '../cluster.js';
import type { CodeContext } from '../code-context.js';
import { killGang, makeGang, saveGang, type GangHandle } from '../gangs.js';
import { UserError, type Program } from '../program.js';
import type { Scene, Workload } from '../scenario.js';
import { Violation } from '../violation.js';

const HOME_CPUS = 4;
const INTERRUPTIONS: readonly ErrorCode[] = ['ACTOR_UNAVAILABLE', 'ACTOR_DIED'];

interface Member {
  steps: number;
}

/** Calls every member. Null: a call was interrupted. */
function* onAll(scene: Scene, code: CodeContext, { members }: GangHandle, method: string): Program<number[] | null> {
  const refs = members.map((member) => code.invoke(member, method));
  const values: number[] = [];
  let isInterrupted = false;
  for (const ref of refs) {
    try {
      values.push((yield* code.get(ref)) as number);
    } catch (error) {
      if (!scene.hasFaults || !(error instanceof MusterError) || !INTERRUPTIONS.includes(error.code)) throw error;
      if (error.code === 'ACTOR_DIED') throw error;
      isInterrupted = true;
    }
  }
  return isInterrupted ? null : values;
}

/** Rounds of a gang that restarts together. */
function* workInLockstep(scene: Scene, code: CodeContext, gang: GangHandle): Program<void> {
  const { random } = scene;
  const saved = new Set([0]);
  let steps = 0;
  let isKnown = true; // no round was interrupted since the last one that got through
  for (let rounds = integer(random, 2, 12); rounds > 0; rounds--) {
    const values = yield* onAll(scene, code, gang, 'step');
    if (values === null) {
      isKnown = false;
      continue;
    }
    const [value = NaN] = values;
    if (values.some((other) => other !== value)) throw new Violation(`the members of ${gang.gangId} are at ${values.join(', ')}`);
    const isNext = isKnown && value === steps + 1;
    if (!isNext && !saved.has(value - 1)) throw new Violation(`${gang.gangId} is at ${value} after ${steps}, with checkpoints at ${[...saved].join(', ')}`);
    steps = value;
    isKnown = true;
    yield* code.sleep(integer(random, 0, 500));
    if (random.next() < 0.6) continue;
    const states = yield* onAll(scene, code, gang, 'save');
    if (states === null) isKnown = false;
    else {
      const [state = NaN] = states;
      if (states.some((other) => other !== state) || (state !== steps && !saved.has(state))) throw new Violation(`${gang.gangId} is at ${steps} and saves ${states.join(', ')}`);
      saved.add(state);
      steps = state;
      saveGang(code, gang, states);
    }
  }
}

function* workLoosely(scene: Scene, code: CodeContext, gang: GangHandle): Program<void> {
  for (let rounds = integer(scene.random, 1, 5); rounds > 0; rounds--) {
    yield* onAll(scene, code, gang, 'step');
    yield* code.sleep(integer(scene.random, 0, 300));
  }
}

/** Gangs. */
export const gangs: Workload = {
  name: 'gangs',
  library: {
    classes: {
      Member: {
        *construct(code, size: number) {
          const { gang } = code;
          if (gang?.size !== size || gang.rank >= size || gang.localRank >= gang.localSize || gang.nodeRank >= gang.nodeCount) {
            throw new Violation(`a member of ${size} is told that it is ${JSON.stringify(gang)}`);
          }
          yield* code.work(1);
          return { steps: 0 };
        },
        restore(state: Member, steps: number) {
          state.steps = steps;
        },
        methods: {
          *step(code, state: Member) {
            yield* code.work(2);
            return ++state.steps;
          },
          *save(code, state: Member) {
            yield* code.work(0.1);
            return state.steps;
          },
        },
      },
      Refuser: {
        *construct(code) {
          if (code.gang!.rank === 1) throw new UserError('rank 1 will not');
          return {};
        },
        methods: {},
      },
    },
    functions: {
      *outside(code, x: number) {
        yield* code.work(10);
        return x;
      },
    },
  },
  nodes: (random) => [{ cpus: HOME_CPUS }, ...Array.from({ length: integer(random, 0, 3) }, () => ({ cpus: integer(random, 1, 4) }))],
  start: (scene) => {
    const { random } = scene;
    for (let driver = integer(random, 1, 2); driver > 0; driver--) {
      scene.driver(function* (code) {
        for (let lives = integer(random, 1, 3); lives > 0; lives--) {
          const size = integer(random, 1, HOME_CPUS);
          const strategy = oneOf(random, ['pack', 'spread', 'strict-pack']);
          const onFailure = oneOf(random, ['fail', 'restart-all', 'restart-all', 'restart-member'] as const);
          for (let x = integer(random, 0, 3); x > 0; x--) code.call('outside', [x], { retries: 100 });
          try {
            const gang = yield* makeGang(code, 'Member', [size], { size, strategy, onFailure });
            yield* onFailure === 'restart-all' ? workInLockstep(scene, code, gang) : workLoosely(scene, code, gang);
            yield* killGang(code, gang);
          } catch (error) {
            const isDeath = error instanceof MusterError && (error.code === 'ACTOR_DIED' || error.code === 'GANG_DIED');
            if (!scene.hasFaults || onFailure !== 'fail' || !isDeath) throw error;
          }
        }
      });
    }
    scene.driver(function* (code) {
      try {
        yield* makeGang(code, 'Refuser', [], { size: 2, strategy: 'pack', onFailure: 'restart-all' });
        throw new Violation('a gang lives though a constructor threw');
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
      }
    });
  },
};
