/**
 * A fault drill: workers die with SIGKILL in the middle of tasks, and the job finishes with the right result.
 *
 * Shows: tasks of dead workers run again elsewhere, up to the option `retries`; without attempts left, the error says what exactly the
 * worker died of; `retryOn` asks for further attempts after an error of the function itself.
 *
 *     node --import tsx examples/fault-drill.ts
 */
import { context, init, remote, shutdown, WorkerDiedError } from '@muster/core';

const CHUNKS = 24;
const CHUNK_LENGTH = 50_000;
/** In these chunks the first attempt kills its own process, half-way through. */
const FATAL = new Set([3, 11, 17]);

interface Counted {
  readonly chunk: number;
  readonly primes: number;
  readonly attempt: number;
}

function isPrime(n: number): boolean {
  if (n < 2) return false;
  for (let divisor = 2; divisor * divisor <= n; divisor++) if (n % divisor === 0) return false;
  return true;
}

const countPrimes = remote((chunk: number): Counted => {
  const { attempt } = context();
  const first = chunk * CHUNK_LENGTH;
  let primes = 0;
  for (let n = first; n < first + CHUNK_LENGTH; n++) {
    if (isPrime(n)) primes++;
    if (FATAL.has(chunk) && attempt === 1 && n === first + CHUNK_LENGTH / 2) process.kill(process.pid, 'SIGKILL');
  }
  return { chunk, primes, attempt };
}, { name: 'count-primes', retries: 5 });

await init();

// 1. Three workers die. A task may have run twice; its result counts once.
let primes = 0;
for await (const counted of countPrimes.map(Array.from({ length: CHUNKS }, (_, chunk) => chunk))) {
  primes += counted.primes;
  if (counted.attempt > 1) console.log(`chunk ${counted.chunk} was done by attempt ${counted.attempt}`);
}
console.log(`${primes} primes below ${CHUNKS * CHUNK_LENGTH}`);

// 2. No attempts left: the error says what happened, to what, and what to do next.
const once = countPrimes.options({ retries: 0, name: 'count-primes-once' });
const error = await once(3).catch((reason: unknown) => reason);
if (!(error instanceof WorkerDiedError)) throw error;
console.log(`\n${error.code}: ${error.message}`);

// 3. An error of the function itself is the caller's to judge. By default it is not tried again.
class Busy extends Error {}
const moody = remote(() => {
  const { attempt } = context();
  if (attempt < 3) throw new Busy(`attempt ${attempt} found nobody in`);
  return `attempt ${attempt} was let in`;
}, { retries: 4, retryOn: (reason) => reason instanceof Busy });
console.log(`\n${await moody()}`);
await shutdown();
