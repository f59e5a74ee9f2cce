/**
 * What travels to a worker: a function with all that it refers to. No module of its own, no registration, no build step.
 * The last part shows what is refused, and that the error names the way to it.
 *
 *     node --import tsx examples/closures-tour.ts
 */
import { createHash } from 'node:crypto';
import { CaptureError, init, remote, shutdown } from '@muster/core';

await init();

// Closures: the constants and helpers that a function uses go with it, and the helpers' helpers.
const taxRate = 0.2;
const round = (amount: number): number => Math.round(amount * 100) / 100;
const withTax = (net: number): number => round(net * (1 + taxRate));
console.log('closure   ', await remote((net: number) => withTax(net))(19.99));

// Imports: they stay imports. The worker imports the same module by itself.
const fingerprint = remote((text: string) => createHash('sha256').update(text).digest('hex').slice(0, 12));
console.log('import    ', await fingerprint('muster'));

// Classes: instances keep theirs, on the way there and on the way back.
class Vector {
  constructor(readonly x: number, readonly y: number) {}
  get length(): number {
    return Math.hypot(this.x, this.y);
  }
}
const half = await remote((v: Vector) => new Vector(v.x / 2, v.y / 2))(new Vector(6, 8));
console.log('class     ', half instanceof Vector, half.length);

// Data: what structured clone takes, with its cycles. It is a snapshot of the moment of the call.
const family = { name: 'Ada', born: new Date('1815-12-10'), friends: new Set(['Charles']), self: null as unknown };
family.self = family;
const copy = await remote((person: typeof family) => person)(family);
console.log('data      ', copy !== family, copy.self === copy, copy.born.getUTCFullYear(), [...copy.friends]);

// Functions are values like others: arguments, results, and both at once.
const compose = remote((f: (n: number) => number, g: (n: number) => number) => (n: number) => g(f(n)));
const grossOfDouble = await compose((n) => 2 * n, withTax);
console.log('function  ', grossOfDouble(10));

// Generators: values arrive while the next ones are made. Leaving the loop ends the task.
const primes = remote(function* () {
  for (let n = 2; ; n++) {
    let divisor = 2;
    while (divisor * divisor <= n && n % divisor !== 0) divisor++;
    if (divisor * divisor > n) yield n;
  }
});
const firstPrimes: number[] = [];
for await (const prime of primes()) if (firstPrimes.push(prime) === 8) break;
console.log('generator ', ...firstPrimes);

// Errors: a rejected call rejects with what the function threw, of its class and with its properties.
class OutOfStock extends Error {
  constructor(readonly article: string, readonly missing: number) {
    super(`${missing} of ${article} are missing`);
  }
}
const order = remote((article: string, wanted: number) => {
  if (wanted > 3) throw new OutOfStock(article, wanted - 3);
  return wanted;
});
const refusal = await order('lamp', 5).catch((error: unknown) => error);
console.log('error     ', refusal instanceof OutOfStock, (refusal as OutOfStock).missing, (refusal as OutOfStock).message);

// A worker has a copy. Assigning a variable there changes nothing here: return the value, or keep it in an actor.
let visits = 0;
await remote(() => { visits += 1; })();
console.log('copy      ', visits);

// Refused is what belongs to this process alone. The error comes at the first call, before anything is sent.
class Account {
  #balance = 100;
  read(): number {
    return this.#balance;
  }
}
const account = new Account();
const answer = Promise.resolve(42);
const settings = { pause: { timer: setTimeout(() => {}, 0) } };
const refused = {
  'private state': remote(() => account.read()),
  'a promise': remote(async () => (await answer) + 1),
  'a timer': remote(() => settings.pause.timer),
  'eval': remote((code: string) => eval(code) as number),
};
for (const [what, task] of Object.entries(refused)) {
  const error = await task('1 + 1').catch((reason: unknown) => reason);
  if (!(error instanceof CaptureError)) throw new Error(`${what} was not refused`, { cause: error });
  console.log(`\nrefused: ${what}\n  ${error.message}`);
}

await shutdown();
