/**
 * Jobs of several queues and priorities that want more than there is. Quotas hold after every event, nobody is preempted for an equal, tasks lose no attempt by it,
 * and neither a group that needs most of the cluster nor a job of higher priority waits longer than it may.
 */
import { MusterError, RESOURCE_SCALE } from '@muster/base';
import { PLAIN_QUEUE, type QueueRules } from '@muster/head';
import { integer, oneOf } from '../cluster.js';
import { UserError } from '../program.js';
import type { Scene, Workload } from '../scenario.js';
import { DEATHS, expectValue, PLENTY } from './expecting.js';

const NODE_CPUS = 4;
const GRACE_MS = 400;
const LONGEST_TASK_MS = 2000;
const QUOTA_CPUS = 2;
const QUEUES: readonly QueueRules[] = [
  { ...PLAIN_QUEUE, name: 'default', gracePeriodMs: GRACE_MS, isDefault: true }, { ...PLAIN_QUEUE, name: 'heavy', weight: 3, gracePeriodMs: GRACE_MS },
  { ...PLAIN_QUEUE, name: 'small', quota: { cpu: QUOTA_CPUS * RESOURCE_SCALE }, gracePeriodMs: GRACE_MS },
];
/** Once it is first in its line: a second until room is kept for it, half a one until the next look, and then what runs, once more where others had the room before. */
const GROUP_WAIT_MAX_MS = 1500 + 2 * LONGEST_TASK_MS;
/** A second in which tasks may end by themselves, half a one until the next look, and the grace period. */
const URGENT_WAIT_MAX_MS = 1500 + GRACE_MS;
/** Workers start, messages travel. */
const SLACK_MS = 2500;

function checkWait(scene: Scene, what: string, waitedMs: number, mostMs: number): void {
  if (!scene.hasFaults) scene.expect(waitedMs <= mostMs + SLACK_MS, `${what} waited for ${waitedMs.toFixed(0)} ms, and may for ${mostMs} ms`);
}

/** Queues, priorities, quotas, preemption and backfilling. */
export const queues: Workload = {
  name: 'queues',
  queues: QUEUES,
  library: {
    classes: {},
    functions: {
      *short(code, x: number) {
        yield* code.work(20);
        return x;
      },
      /** Some give up when they are told that they are preempted, and some go on until they are ended. */
      *long(code, x: number) {
        for (let passedMs = 0; passedMs < LONGEST_TASK_MS; passedMs += 100) {
          yield* code.sleep(100);
          if (x % 2 === 0 && code.task!.running.preemption) throw new UserError('gives up');
        }
        return x;
      },
      *urgent(code, x: number) {
        yield* code.work(50);
        return x;
      },
    },
  },
  nodes: (random) => Array.from({ length: integer(random, 1, 3) }, () => ({ cpus: NODE_CPUS })),
  check: ({ cluster, expect }) => {
    for (const queue of cluster.head.machine.queues.byName.values()) {
      const { quota, name } = queue.settings;
      for (const resource in quota) expect((queue.held[resource] ?? 0) <= quota[resource]!, `the queue ${name} holds ${queue.held[resource]} of ${resource}, and may hold ${quota[resource]}`);
    }
  },
  start: (scene) => {
    const { random, cluster } = scene;
    for (const queue of ['', 'heavy', 'small']) {
      scene.driver(function* (code) {
        const retries = oneOf(random, [0, PLENTY]);
        const made = Array.from({ length: integer(random, 20, 60) }, (_, x) => {
          const isLong = random.next() < 0.3;
          return code.call(isLong ? 'long' : 'short', [x], { retries, expectedDurationMs: oneOf(random, [undefined, isLong ? LONGEST_TASK_MS : 20]) });
        });
        for (const [x, ref] of made.entries()) yield* expectValue(scene, code, ref, x, retries === 0 ? DEATHS : []);
      }, { queue });
    }
    const delayMs = integer(random, 0, 3000);
    if (random.next() < 0.5) {
      scene.driver(function* (code) {
        yield* code.sleep(delayMs);
        const sinceMs = code.nowMs;
        const size = NODE_CPUS * cluster.nodes.length - integer(random, 0, 2);
        try {
          const groupId = yield* code.placementGroup(Array.from({ length: size }, () => ({ cpus: 1 })), 'pack');
          checkWait(scene, `a group of ${size} bundles`, code.nowMs - sinceMs, GROUP_WAIT_MAX_MS);
          yield* code.removeGroup(groupId);
        } catch (error) { // nodes that were lost come back late
          if (!scene.hasFaults || !(error instanceof MusterError) || error.code !== 'UNSCHEDULABLE') throw error;
        }
      });
    } else {
      scene.driver(function* (code) {
        yield* code.sleep(delayMs);
        const sinceMs = code.nowMs;
        const ref = code.call('urgent', [1], { cpus: integer(random, 1, NODE_CPUS), retries: PLENTY });
        yield* expectValue(scene, code, ref, 1);
        checkWait(scene, 'a job of high priority', code.nowMs - sinceMs, URGENT_WAIT_MAX_MS);
      }, { priority: 5 });
    }
  },
};
