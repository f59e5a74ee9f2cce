/** What the ranks of a test do, by name. Each returns what the test compares, as JSON can hold it. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { CollectiveError, type Communicator } from '../index.js';

/** The line to the test. */
export interface Line {
  say(word: string): void;
  /** Resolves when the test has said something. */
  readonly told: Promise<void>;
}

const filled = (length: number, value: number): Float32Array => new Float32Array(length).fill(value);

/** An error as the test compares it. */
export async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(() => 'no failure', (error: unknown) =>
    error instanceof CollectiveError ? { reason: error.details['reason'], rank: error.details['rank'], message: error.message } : String(error));
}

const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);
const toBfloat16 = (value: number): number => {
  float[0] = value;
  return bits[0]! >>> 16;
};

export const scenarios = {
  async 'every call'(communicator: Communicator) {
    const { rank, size } = communicator;
    const own = Float32Array.of(rank + 1, 10 * (rank + 1));
    const sum = new Float32Array(2);
    await communicator.allReduce(own, { target: sum });
    const largest = Int32Array.of(rank, -rank);
    await communicator.allReduce(largest, { op: 'max' });
    const atRoot = Float64Array.of(rank + 2);
    await communicator.reduce(atRoot, { op: 'product', root: 1 });
    const parts = Uint8Array.from({ length: size }, (_, part) => 10 * part + rank);
    const part = new Uint8Array(1);
    await communicator.reduceScatter(parts, part);
    const gathered = new BigInt64Array(size);
    await communicator.allGather(BigInt64Array.of(BigInt(rank)), gathered);
    const told = rank === 1 ? Float32Array.of(7, 8) : new Float32Array(2);
    await communicator.broadcast(told, { root: 1 });
    const exchanged = new Uint8Array(size);
    await communicator.allToAll(parts, exchanged);
    await communicator.barrier();
    const half = Uint16Array.of(toBfloat16(1.5), toBfloat16(rank));
    await communicator.allReduce(half, { dtype: 'bf16' });
    const average = Uint16Array.of(0x3c00, rank === 0 ? 0x4000 : 0); // 1 and 2 in f16
    await communicator.allReduce(average, { dtype: 'f16', op: 'average' });
    const octets = Uint8Array.of(0x38, 0x40); // 1 and 2 in E4M3
    await communicator.allReduce(octets, { dtype: 'f8e4m3' });
    await communicator.allReduce(new Float32Array(0));
    return {
      own: [...own], sum: [...sum], largest: [...largest], atRoot: [...atRoot], part: [...part], gathered: [...gathered].map(Number), told: [...told], exchanged: [...exchanged],
      half: [...half], average: [...average], octets: [...octets],
    };
  },

  /** Calls that nobody waits for one by one; small and large ones take different ways. */
  async 'many calls at once'(communicator: Communicator) {
    const arrays = Array.from({ length: 300 }, (_, call) => filled(call % 20 === 0 ? 20_000 : 4, call));
    await Promise.all(arrays.map((array) => communicator.allReduce(array)));
    return arrays.every((array, call) => array.every((value) => value === communicator.size * call));
  },

  async 'a call that waits does not hold the thread'(communicator: Communicator, { say, told }: Line) {
    const values = filled(300_000, 1);
    if (communicator.rank === 1) await told;
    const sum = communicator.allReduce(values);
    if (communicator.rank === 0) {
      await new Promise(setImmediate);
      say('still here');
    }
    await sum;
    return [values[0], values.at(-1)];
  },

  /** What it has done when it returns: everything where the other rank is there, and nothing where that is late. */
  async 'a call that holds the thread'(communicator: Communicator, { say, told }: Line) {
    const values = filled(300_000, 1);
    communicator.blocking.barrier();
    const together = communicator.allReduce(values, { holdMs: 1000 });
    const seen = [values[0], values.at(-1)];
    await together;
    if (communicator.rank === 1) await told;
    const late = communicator.allReduce(values, { holdMs: communicator.rank === 0 ? 1 : 1000 });
    seen.push(values.at(-1));
    if (communicator.rank === 0) say('goes on');
    await late;
    return [...seen, values[0], values.at(-1)];
  },

  /** Nobody but the call knows the array any more. */
  async 'memory outlives its last reference'(communicator: Communicator, { say, told }: Line) {
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    if (communicator.rank === 1) await told;
    const sum = communicator.allReduce(filled(1_000_000, 1));
    for (let round = 0; round < 3; round++) {
      collectGarbage();
      await new Promise(setImmediate);
    }
    if (communicator.rank === 0) say('collected');
    await sum;
    const mark = Float32Array.of(communicator.rank);
    await communicator.allReduce(mark);
    return mark[0];
  },

  async 'a ring of messages'(communicator: Communicator) {
    const { rank, size } = communicator;
    const mine = Int32Array.from({ length: 50_000 }, (_, index) => index + rank);
    const theirs = new Int32Array(mine.length);
    await communicator.group((group) => {
      group.send(mine, { to: (rank + 1) % size });
      group.recv(theirs, { from: (rank + size - 1) % size });
      group.barrier();
    });
    return [theirs[0], theirs.at(-1)];
  },

  async 'a rank dies'(communicator: Communicator) {
    if (communicator.rank === 1) process.kill(process.pid, 'SIGKILL');
    const first = await failureOf(communicator.allReduce(filled(1000, 1)));
    return { first, next: await failureOf(communicator.barrier()) };
  },

  /** After calls that nobody has waited for, small and large; then one at which rank 1 dies. */
  async 'blocking calls'(communicator: Communicator) {
    const { rank, size } = communicator;
    const before = filled(100_000, 1);
    const pending = communicator.allReduce(before);
    const [small, large] = [filled(4, rank), filled(100_000, rank)];
    communicator.blocking.allReduce(small);
    communicator.blocking.allReduce(large, { op: 'max' });
    const seen = [before[99_999], small[3], large[99_999], size];
    await pending;
    if (rank === 1) process.kill(process.pid, 'SIGKILL');
    return { seen, failure: await failureOf((async () => communicator.blocking.allReduce(large))()) };
  },

  async 'ranks disagree'(communicator: Communicator) {
    if (communicator.rank === 0) return failureOf(communicator.allReduce(filled(1000, 1)));
    return failureOf(communicator.broadcast(filled(999, 1)));
  },

  /** In a group. The sender need not hear of it: a small message waits for nobody. */
  async 'ranks disagree about a message'(communicator: Communicator) {
    return failureOf(communicator.group((group) => {
      if (communicator.rank === 0) group.send(filled(10, 1), { to: 1 });
      else group.recv(filled(11, 1), { from: 0 });
    }));
  },

  async 'a rank comes late'(communicator: Communicator, { say, told }: Line) {
    if (communicator.rank === 1) await told;
    const failure = await failureOf(communicator.barrier());
    say('gave up');
    return failure;
  },

  async 'a rank aborts'(communicator: Communicator) {
    if (communicator.rank === 1) communicator.abort('the loss is not finite');
    return failureOf(communicator.allReduce(filled(200_000, 1)));
  },

  async 'a rank closes with a call pending'(communicator: Communicator) {
    await communicator.barrier();
    if (communicator.rank === 1) return failureOf(communicator.recv(filled(10, 0), { from: 0 }));
    const pending = communicator.allReduce(filled(10, 1));
    communicator.close();
    communicator.close();
    return { pending: await failureOf(pending), after: await failureOf(communicator.barrier()) };
  },

  async 'exits while a call is pending'(communicator: Communicator) {
    void communicator.barrier().catch(() => undefined);
    if (communicator.rank === 0) setImmediate(() => process.exit(0));
    return null;
  },
} satisfies Record<string, (communicator: Communicator, line: Line) => Promise<unknown>>;

export type ScenarioName = keyof typeof scenarios;
