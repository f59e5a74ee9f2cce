/** Ranks as processes, for tests. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Test } from 'tap';
import type { ScenarioName } from './rank.js';

const RANK_PROGRAM = new URL('rank.js', import.meta.url);
const TIMEOUT_MS = 60_000;

let communicators = 0;
/** Of a communicator of this test alone. */
export const freshId = (): string => `test-${process.pid}-${communicators++}`;

interface Report {
  readonly word?: string;
  readonly result?: unknown;
}

/** A rank's process, and what it reports. */
export class RankProcess {
  readonly child: ChildProcess;
  readonly exited: Promise<unknown>;
  readonly #reports: Report[] = [];

  constructor(child: ChildProcess) {
    this.child = child;
    this.exited = once(child, 'exit').then(([code, signal]) => signal ?? code);
    child.on('message', (report: Report) => this.#reports.push(report));
  }

  /** The first report that has `key`, or null when the process has ended without. */
  async report<K extends keyof Report>(key: K): Promise<Report[K] | null> {
    for (;;) {
      const found = this.#reports.find((report) => key in report);
      if (found) return found[key];
      if (this.child.exitCode !== null || this.child.signalCode !== null) return null;
      await Promise.race([once(this.child, 'message'), this.exited]);
    }
  }
}

interface RanksOptions {
  readonly size?: number;
  readonly timeoutMs?: number;
  readonly debug?: boolean;
  readonly environments?: readonly Readonly<Record<string, string>>[];
}

/** A process for each rank, which runs the scenario. @param environments by rank, beside this process's */
export function startRanks(t: Test, scenario: ScenarioName, { size = 2, timeoutMs = TIMEOUT_MS, debug = false, environments = [] }: RanksOptions = {}): RankProcess[] {
  const id = freshId();
  return Array.from({ length: size }, (_, rank) => {
    const child = fork(RANK_PROGRAM, [scenario, id, String(rank), String(size), String(timeoutMs), String(debug)], { env: { ...process.env, ...environments[rank] } });
    t.teardown(() => child.kill('SIGKILL'));
    return new RankProcess(child);
  });
}

export async function resultsOf(ranks: readonly RankProcess[]): Promise<unknown[]> {
  return Promise.all(ranks.map((rank) => rank.report('result')));
}
