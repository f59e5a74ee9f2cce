/**
 * Tasks that meet by keys, of several jobs under the same names. Whoever reads a key reads what its own job wrote there, always the same, and nobody waits longer
 * than asked; when the jobs are over the head has none of it.
 */
import { MusterError } from '@muster/base';
import { integer } from '../cluster.js';
import type { CodeContext } from '../code-context.js';
import type { Program } from '../program.js';
import type { Workload } from '../scenario.js';
import { Violation } from '../violation.js';
import { expectValue, PLENTY } from './expecting.js';

const WAIT_MS = 1000;
/** Messages travel, and the head looks at its waits now and then. Where there are faults a connection may stand still for longer. */
const SLACK_MS = 500;
const NAMESPACE = 'meeting';

function* write(code: CodeContext, key: string, value: string): Program<void> {
  yield* code.session.request((requestId) => ({ type: 'putKey', requestId, namespace: NAMESPACE, key, value: Buffer.from(value) }));
}

function* read(code: CodeContext, key: string): Program<string | null> {
  const { found, value } = yield* code.session.request((requestId) => ({ type: 'getKey', requestId, namespace: NAMESPACE, key, waitMs: WAIT_MS }));
  return found ? Buffer.from(value).toString() : null;
}

/** What each rank of a job writes. */
const cardOf = (job: string, rank: number): string => `${job} at ${rank}`;

/** Meetings by the head's key-value store. */
export const meetings: Workload = {
  name: 'meetings',
  library: {
    classes: {},
    functions: {
      /** Writes a card and looks for those of the others, who may never get a cpu meanwhile. A further attempt writes the same again. */
      *meet(code, [job, rank, size, isCalm]: readonly [string, number, number, boolean]) {
        yield* write(code, String(rank), cardOf(job, rank));
        for (let other = 0; other < size; other++) {
          const sinceMs = code.nowMs;
          const card = yield* read(code, String(other));
          if (card !== null && card !== cardOf(job, other)) throw new Violation(`${job} reads '${card}' of rank ${other}`);
          if (card === null && other === rank) throw new Violation(`${job} does not find what it wrote`);
          if (isCalm && code.nowMs - sinceMs > WAIT_MS + SLACK_MS) throw new Violation(`${job} waited for ${(code.nowMs - sinceMs).toFixed(0)} ms`);
        }
        return rank;
      },
    },
  },
  nodes: (random) => Array.from({ length: integer(random, 1, 3) }, () => ({ cpus: integer(random, 1, 4) })),
  start: (scene) => {
    const { random } = scene;
    for (let driver = integer(random, 1, 3); driver > 0; driver--) {
      const size = integer(random, 1, 6);
      const isCalm = scene.faults.name === 'none';
      scene.driver(function* (code) {
        const job = `job ${driver}`;
        const ranks = Array.from({ length: size }, (_, rank) => code.call('meet', [[job, rank, size, isCalm]], { retries: PLENTY }));
        for (const [rank, ref] of ranks.entries()) yield* expectValue(scene, code, ref, rank);
        for (let rank = 0; rank < size; rank++) {
          const card = yield* read(code, String(rank));
          scene.expect(card === cardOf(job, rank), `${job} reads '${String(card)}' when all have written`);
        }
        try {
          yield* write(code, '0', 'another');
          throw new Violation('a key was written twice');
        } catch (error) {
          if (!(error instanceof MusterError) || error.code !== 'INVALID_ARGUMENT') throw error;
        }
        if (random.next() < 0.5) code.session.toHead({ type: 'clearKeys', namespace: NAMESPACE });
      });
    }
  },
};
