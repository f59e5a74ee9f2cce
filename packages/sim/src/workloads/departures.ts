/** Drivers that are killed in the middle of everything, beside one that lives. Nothing of theirs remains, and the other one is not harmed. */
import { integer } from '../cluster.js';
import type { ActorHandle, CodeContext } from '../code-context.js';
import type { Program } from '../program.js';
import type { Workload } from '../scenario.js';
import { Large } from '../values.js';
import { expectValue, PLENTY } from './expecting.js';

function* everything(code: CodeContext): Program<void> {
  const kept = yield* code.put(new Large('kept', 500_000));
  const handle: ActorHandle = yield* code.create('Keeper', [kept], { maxRestarts: -1 });
  for (let round = 0; round < 1000; round++) {
    const made = code.call('make', [round], { retries: PLENTY });
    code.call('parent', [made, [kept]], { retries: PLENTY });
    code.invoke(handle, 'keep', [[made]], { retries: PLENTY });
    yield* code.sleep(10);
  }
}

/** Drivers that die. */
export const departures: Workload = {
  name: 'departures',
  library: {
    classes: {
      Keeper: {
        *construct(_code, first: unknown) {
          return [first];
        },
        methods: {
          *keep(code, state: unknown[], value: unknown) {
            yield* code.sleep(1);
            state.push(value);
            return state.length;
          },
        },
      },
    },
    functions: {
      *make(code, x: number) {
        yield* code.work(2);
        return new Large(x, 200_000);
      },
      *parent(code, x: number) {
        const child = code.call('make', [x + 1], { retries: PLENTY });
        return yield* code.get(child);
      },
    },
  },
  nodes: (random) => Array.from({ length: integer(random, 1, 3) }, () => ({ cpus: integer(random, 1, 3) })),
  start: (scene) => {
    const { random, cluster } = scene;
    for (let count = integer(random, 1, 2); count > 0; count--) {
      const driver = scene.driver(everything);
      cluster.world.clock.after(integer(random, 1, 2500), () => driver.kill());
    }
    scene.driver(function* (code) {
      for (let round = 0; round < 10; round++) {
        yield* expectValue(scene, code, code.call('parent', [round], { retries: PLENTY }), round + 1);
        yield* code.sleep(integer(random, 0, 300));
      }
    });
  },
};
