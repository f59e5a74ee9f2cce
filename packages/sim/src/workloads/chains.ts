/**
 * Large results made of large results, all on nodes that lose their power at once. What is still wanted is made again, from its lineage, as
 * far back as needed; what has no attempts left is lost, and says so.
 */
import type { ObjectRef } from '@muster/core/internal';
import { integer, oneOf } from '../cluster.js';
import { KILLED } from '../process.js';
import type { Scene, Workload } from '../scenario.js';
import { Large } from '../values.js';
import { DEATHS, expectValue, PLENTY } from './expecting.js';

const SIZE_BYTES = 300 * 1024;

/** All machines but the drivers' go dark, and others take their places. */
function strike({ cluster, home }: Scene): void {
  for (const node of cluster.liveNodes) {
    if (node === home) continue;
    cluster.world.network.darken(node.options.host);
    node.process.exit(KILLED);
  }
  if (cluster.liveNodes.length === 1) cluster.addNode(`n${cluster.nodes.length}`, { cpus: 2 });
}

/** Results made of results that are lost. */
export const chains: Workload = {
  name: 'chains',
  library: {
    classes: {},
    functions: {
      *make(code, x: number) {
        yield* code.work(5);
        return new Large(x, SIZE_BYTES);
      },
      *step(code, x: number) {
        yield* code.work(5);
        return new Large(x + 1, SIZE_BYTES);
      },
      *join(code, x: number, y: number) {
        yield* code.work(5);
        return new Large(x + y, SIZE_BYTES);
      },
      *read(code, x: number) {
        yield* code.work(1);
        return x;
      },
    },
  },
  nodes: (random) => [{ cpus: 0 }, ...Array.from({ length: integer(random, 1, 3) }, () => ({ cpus: integer(random, 1, 3) }))],
  start: (scene) => {
    const { random } = scene;
    scene.driver(function* (code) {
      const retries = oneOf(random, [1, 2, PLENTY, PLENTY]);
      const ends: { ref: ObjectRef; value: number }[] = [];
      for (let count = integer(random, 1, 4); count > 0; count--) {
        let ref = code.call('make', [count], { retries });
        let value = count;
        for (let steps = integer(random, 1, 4); steps > 0; steps--) {
          const before = ref;
          const isJoin = random.next() < 0.3;
          ref = isJoin ? code.call('join', [before, before], { retries }) : code.call('step', [before], { retries });
          value = isJoin ? value * 2 : value + 1;
          code.drop(before);
        }
        ends.push({ ref, value });
      }
      scene.hasFaults = true;
      const allowed = retries < PLENTY ? [...DEATHS, 'OBJECT_LOST' as const] : [];
      for (let strikes = integer(random, 1, 3); strikes > 0; strikes--) {
        if (random.next() < 0.7) yield* code.wait(ends.map(({ ref }) => ref), ends.length);
        else yield* code.sleep(integer(random, 1, 300));
        strike(scene);
        for (const { ref, value } of ends) {
          if (random.next() < 0.5) yield* expectValue(scene, code, code.call('read', [ref], { retries }), value, allowed);
          else yield* code.sleep(integer(random, 0, 20));
        }
      }
      for (const { ref, value } of ends) yield* expectValue(scene, code, ref, value, allowed);
    });
  },
};
