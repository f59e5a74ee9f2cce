/** A member of a gang for tests that sums over the gang, whatever nodes it is on. */
import { collective, CollectiveError, type CollectiveOptions, type Communicator } from '@muster/collective';
import { context } from '@muster/core';

/** How a call of a communicator went. */
export interface Outcome {
  readonly sum?: number;
  readonly reason?: unknown;
  readonly rank?: unknown;
  readonly message?: string;
}

async function outcomeOf(calls: () => Promise<Outcome>): Promise<Outcome> {
  try {
    return await calls();
  } catch (error) {
    if (error instanceof CollectiveError) return { reason: error.details['reason'], rank: error.details['rank'], message: error.message };
    throw error;
  }
}

export class Summing {
  #communicator: Communicator | null = null;
  #steps = 0;

  /** Meets the others. */
  async meet(options: CollectiveOptions = {}): Promise<{ readonly pid: number; readonly nodeId: string; readonly incarnation: number; readonly nodeCount: number }> {
    const gang = context().gang!;
    this.#communicator = await collective(gang, options);
    return { pid: process.pid, nodeId: context().nodeId, incarnation: gang.incarnation, nodeCount: gang.nodeCount };
  }

  /** The sum over all ranks of 1, 2, 4 and so on, in every element of a large array and of a small one. */
  async sum(): Promise<Outcome> {
    this.#steps++;
    return outcomeOf(async () => {
      let sum: number | undefined;
      for (const length of [3, 300_000]) {
        const values = new Float32Array(length).fill(2 ** context().gang!.rank);
        await this.#communicator!.allReduce(values);
        if (values.some((value) => value !== values[0])) return { message: 'the elements differ' };
        sum = values[0]!;
      }
      return { sum: sum! };
    });
  }

  /** The last rank multiplies where the others sum, until they hear of it. */
  async disagree(): Promise<Outcome> {
    const { rank, size } = context().gang!;
    const values = new Float32Array(3);
    return outcomeOf(async () => {
      for (;;) {
        if (rank < size - 1) await this.#communicator!.allReduce(values);
        else await this.#communicator!.allReduce(values, { op: 'product' });
      }
    });
  }

  /** Sums until something goes wrong. */
  async sumOn(): Promise<Outcome> {
    for (;;) {
      const outcome = await this.sum();
      if (outcome.sum === undefined) return outcome;
    }
  }

  abort(reason: string): void {
    this.#communicator!.abort(reason);
  }

  /** A fresh communicator after a failed one. */
  async meetAgain(name: string): Promise<Outcome> {
    this.#communicator!.close();
    await this.meet({ name });
    return this.sum();
  }

  checkpoint(): number { return this.#steps; }
  restore(steps: number): void { this.#steps = steps; }

  close(): void {
    this.#communicator?.close();
  }
}
