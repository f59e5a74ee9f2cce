/**
 * An actor: an object with state that lives in a process of its own, and that many callers share.
 *
 * Shows: calls of one caller run in the order they were made; tasks find an actor by its name; after its process dies it is restarted, and gets
 * its state back from where it was written down.
 *
 *     node --import tsx examples/actor.ts
 */
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { actor, ActorUnavailableError, get, getActor, init, kill, remote, shutdown } from '@muster/core';

/** An account whose journal outlives it. A restart runs the constructor again, with the same arguments. */
class Ledger {
  #balance = 0;
  readonly #journal: string;

  constructor(journal: string) {
    this.#journal = journal;
    if (existsSync(journal)) for (const line of readFileSync(journal, 'utf8').trim().split('\n')) this.#balance += Number(line);
  }

  /** The balance afterwards. */
  deposit(amount: number): number {
    appendFileSync(this.#journal, `${amount}\n`);
    return (this.#balance += amount);
  }

  balance(): number {
    return this.#balance;
  }

  /** Stands for a machine's power cut. */
  crash(): void {
    process.kill(process.pid, 'SIGKILL');
  }
}

const folder = mkdtempSync(join(tmpdir(), 'muster-ledger-'));
await init();
const ledger = await actor(Ledger, { name: 'ledger', maxRestarts: 1 }).create(join(folder, 'journal'));

// Order: five calls are under way at once, and run one after another, as they were made.
console.log('in order    ', await get([1, 2, 3, 4, 5].map((amount) => ledger.deposit.remote(amount))));

// Sharing: twenty tasks on different workers find the same actor by its name.
const payIn = remote(async (amount: number) => {
  const shared = await getActor<Ledger>('ledger');
  await shared.deposit(amount);
});
await Promise.all(Array.from({ length: 20 }, () => payIn(10)));
console.log('shared      ', await ledger.balance());

// Restart: the interrupted call fails, because nobody knows how far it came. Later calls wait for the new process.
const interrupted = await ledger.crash().catch((error: unknown) => error);
console.log('interrupted ', interrupted instanceof ActorUnavailableError);
console.log('restarted   ', await ledger.balance());

await kill(ledger);
console.log('killed      ', await ledger.balance().catch((error: Error) => error.name));
await shutdown();
rmSync(folder, { recursive: true });
