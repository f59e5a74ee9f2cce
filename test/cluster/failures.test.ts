/** What happens when workers, nodes, the head or a driver die or fall silent. Everything here ends real processes. */
import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { actor, context, gang, get, kill, MusterError, put, remote, wait, type ObjectRef } from '@muster/core';
import { childrenOf, exitOf, isRunning, TestCluster, type ClusterOptions } from '../support/cluster.js';
import { Summing } from '../support/summing.js';
import { until } from '../support/until.js';

const NODE_TIMEOUT_MS = 2500;

async function connectedCluster(t: Test, options: ClusterOptions): Promise<TestCluster> {
  const cluster = await TestCluster.start({ nodeTimeout: `${NODE_TIMEOUT_MS}ms`, ...options });
  t.teardown(() => cluster.stop());
  await cluster.connect();
  return cluster;
}

/** The lines that tasks have appended to a file: what really ran. */
function linesOf(file: string): string[] {
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter((line) => line !== '') : [];
}

function countOf(lines: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const line of lines) counts.set(line, (counts.get(line) ?? 0) + 1);
  return counts;
}

t.test('workers', async (t) => {
  const cluster = await connectedCluster(t, { nodes: [{ cpus: 2 }] });
  const [node] = cluster.nodes;
  const counter = join(cluster.root, 'ran');

  t.test('a worker killed in the middle of 1,000 tasks: every result is right, and little ran twice', async (t) => {
    const square = remote((x: number) => {
      appendFileSync(counter, `${x}\n`);
      for (const end = performance.now() + 1; performance.now() < end;);
      return x * x;
    });
    const results = get(Array.from({ length: 1000 }, (_, x) => square.remote(x)));
    await until('the tasks are under way', () => linesOf(counter).length > 200);
    process.kill(cluster.workersOf(node!)[0]!, 'SIGKILL');
    t.same(await results, Array.from({ length: 1000 }, (_, x) => x * x));
    const counts = countOf(linesOf(counter));
    t.equal(counts.size, 1000);
    t.ok(Math.max(...counts.values()) <= 2, 'no task ran more than twice after one death');
    t.ok(linesOf(counter).length <= 1016, `${linesOf(counter).length} runs of 1,000 tasks`);
  });

  t.test('a task that ends its worker runs once and as often again as it may', async (t) => {
    const file = join(cluster.root, 'suicides');
    const die = remote(() => {
      appendFileSync(file, `${context().attempt}\n`);
      process.kill(process.pid, 'SIGKILL');
      return 0;
    }).options({ retries: 2 });
    await t.rejects(die(), { name: 'WorkerDiedError', code: 'WORKER_DIED', message: /SIGKILL/ });
    t.same(linesOf(file), ['1', '2', '3']);
  });

  t.test('the exit code and the last words of a worker are in the error', async (t) => {
    const exit = remote((code: number): number => {
      process.stderr.write('the last words\n');
      process.exit(code);
    }).options({ retries: 0 });
    await t.rejects(exit(3), { code: 'WORKER_DIED', message: /exited with code 3[^]*the last words/ });
  });

  t.test('a worker whose heap is full is reported as out of memory', async (t) => {
    await cluster.addNode({ labels: { heap: 'small' }, env: { NODE_OPTIONS: '--max-old-space-size=64' } });
    const fill = remote((size: number) => {
      const hoard: number[][] = [];
      while (hoard.length < size) hoard.push(new Array<number>(1e5).fill(hoard.length));
      return hoard.length;
    }).options({ retries: 0, placement: { labels: { heap: 'small' } } });
    await t.rejects(fill(1e6), { code: 'WORKER_DIED', message: /out of memory/ });
    t.equal(await fill(10), 10, 'the node goes on');
  });

  t.test('an actor whose process is killed says so, and restarts if it may', async (t) => {
    class Victim {
      pid(): number { return process.pid; }
    }
    const mortal = await actor(Victim).create();
    process.kill(await mortal.pid(), 'SIGKILL');
    await until('its death is known', () => mortal.pid().then(() => false, () => true));
    await t.rejects(mortal.pid(), { code: 'ACTOR_DIED', message: /SIGKILL/ });
    const phoenix = await actor(Victim, { maxRestarts: 1 }).create();
    const first = await phoenix.pid();
    process.kill(first, 'SIGKILL');
    let second = first;
    await until('it lives again', () => phoenix.pid().then((pid) => (second = pid) !== first, () => false));
    process.kill(second, 'SIGKILL');
    await until('it is dead for good', () => phoenix.pid().then(() => false, (error: MusterError) => error.code === 'ACTOR_DIED'));
  });
});

t.test('a node is killed', async (t) => {
  const cluster = await connectedCluster(t, { nodes: [{ cpus: 2, labels: { name: 'doomed' } }, { cpus: 1, labels: { name: 'other' } }] });
  const rows = await Promise.all(cluster.nodes.map((node) => cluster.row(node)));
  const doomed = cluster.nodes[rows.findIndex((row) => row.labels['name'] === 'doomed')]!;
  const other = cluster.nodes.find((node) => node !== doomed)!;
  const on = (name: string) => ({ placement: { labels: { name } } }) as const;
  const runs = join(cluster.root, 'runs');

  /** Takes its time at the first attempt only. */
  const whereAfter = remote(async (ms: number, label: string) => {
    appendFileSync(runs, `${label}\n`);
    if (context().attempt === 1) await new Promise((resolve) => setTimeout(resolve, ms));
    return context().nodeId as string;
  });
  class Place {
    nodeId(): string { return context().nodeId; }
  }

  // Two tasks that may run anywhere, and do not run on the other node because it is busy; two and an actor that only the doomed one can run.
  const block = whereAfter.options(on('other')).remote(2000, 'block');
  await until('the other node is busy', () => linesOf(runs).length === 1);
  const moving = [0, 1].map((i) => whereAfter.remote(60_000, `moving-${i}`));
  await until('two run on the doomed node', () => linesOf(runs).length === 3);
  const tied = whereAfter.options({ ...on('doomed'), cpus: 0, retries: 1 }).remote(60_000, 'tied');
  const once = whereAfter.options({ ...on('doomed'), cpus: 0, retries: 0 }).remote(60_000, 'once');
  const mortal = await actor(Place, on('doomed')).create();

  t.test('it is declared dead within the configured time, and said so with the cause', async (t) => {
    await until('tied and once run', () => linesOf(runs).length === 5);
    doomed.kill('SIGKILL');
    await until('the node is dead', async () => (await cluster.row(doomed)).state === 'dead');
    await t.rejects(get(once), { name: 'NodeDiedError', code: 'NODE_DIED', message: new RegExp(doomed.nodeId) });
  });

  t.test('its tasks run elsewhere', async (t) => {
    t.same(await get(moving), [other.nodeId, other.nodeId]);
    t.equal(await get(block), other.nodeId);
    const counts = countOf(linesOf(runs));
    t.same([counts.get('moving-0'), counts.get('moving-1'), counts.get('block'), counts.get('once')], [2, 2, 1, 1]);
  });

  t.test('a task that only it could run fails and says why', async (t) => {
    await t.rejects(get(tied), { code: 'UNSCHEDULABLE', message: /label/ });
  });

  t.test('an actor without restarts is dead with the cause', async (t) => {
    await t.rejects(mortal.nodeId(), { code: 'ACTOR_DIED', message: new RegExp(`${doomed.nodeId}.*lost`) });
  });

  t.test('its workers are gone with it, and the next node there removes what it left', async (t) => {
    await until('no process of the node is left', () => !cluster.processes().some((pid) => readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`MUSTER_HOME=${doomed.home}\0`)));
    t.ok(existsSync(doomed.folder));
    const next = await cluster.addNode({ cpus: 1, home: doomed.home, labels: { name: 'next' } });
    t.notOk(existsSync(doomed.folder), 'its folder is gone');
    t.notOk(existsSync(doomed.arenaPath), 'its shared memory is gone');
    t.equal(await whereAfter.options(on('next'))(1, 'next'), next.nodeId);
  });
});

t.test('objects and actors of a killed node', async (t) => {
  const cluster = await connectedCluster(t, { nodes: [{ cpus: 2 }] });
  const [doomed] = cluster.nodes;
  const runs = join(cluster.root, 'runs');
  const link = remote((step: number, before: Uint8Array | null) => {
    appendFileSync(runs, `${step}\n`);
    const sum = before ? before[0]! + before[before.length - 1]! : 0;
    return new Uint8Array(500_000).fill(step + sum);
  });
  class Keeper {
    #kept = 0;
    keep(value: number): number { return (this.#kept += value); }
    where(): string { return context().nodeId; }
  }
  const keep = remote(async () => [await put(new Uint8Array(500_000).fill(9)), await put(new Uint8Array(500_000).fill(8))]);
  const chain: ObjectRef<Uint8Array>[] = [link.remote(1, null)];
  for (const step of [2, 3]) chain.push(link.remote(step, chain.at(-1)!));
  const keeper = await actor(Keeper, { cpus: 1, maxRestarts: 2 }).create();
  const mortal = await actor(Keeper, { placement: { node: doomed!.nodeId } }).create();
  t.equal(await keeper.keep(5), 5);
  t.equal(await mortal.where(), doomed!.nodeId);
  const kept = await keep();
  const ownPut = await put(new Uint8Array(500_000).fill(4));
  await until('the chain has run', () => linesOf(runs).length === 3);
  t.same((await wait([...chain, ...kept], { count: 5 })).pending, []);
  const replacement = await cluster.addNode({ cpus: 2 });
  doomed!.kill('SIGKILL');
  await until('the node is dead', async () => (await cluster.row(doomed!)).state === 'dead');

  t.test('a chain of three lost results is made again, each once', async (t) => {
    const value = await get(chain[2]!);
    t.same([value.length, value[0], value[499_999]], [500_000, 11, 11]); // 1, then 2 + 1 + 1 = 4, then 3 + 4 + 4 = 11
    t.same(linesOf(runs).slice(3), ['1', '2', '3']);
    t.same((await get(chain)).map((part) => part[0]), [1, 4, 11]);
    t.same(linesOf(runs).length, 6, 'nothing was made again that was there');
  });

  t.test('what a task there has put is lost with its owner, also what is asked for after the owner\'s death is known', async (t) => {
    for (const ref of kept) await t.rejects(get(ref), { code: /^(OBJECT_LOST|OWNER_DIED)$/ });
  });

  t.test('what the driver has put on its own node is still there', async (t) => {
    t.equal((await get(ownPut))[0], 4);
  });

  t.test('a restartable actor starts anew on another node; another one says why it is dead', async (t) => {
    await until('it lives again', () => keeper.where().then((nodeId) => nodeId === replacement.nodeId, () => false));
    t.equal(await keeper.keep(1), 1, 'its constructor has run again');
    await t.rejects(mortal.where(), { code: 'ACTOR_DIED', message: new RegExp(doomed!.nodeId) });
  });
});

t.test('put() of the driver on a node that dies', async (t) => {
  const cluster = await connectedCluster(t, { nodes: [{ cpus: 1 }, { cpus: 1 }] });
  const [first, second] = cluster.nodes;
  class Shelf {
    #made: ObjectRef<Uint8Array>[] = [];
    async make(): Promise<ObjectRef<Uint8Array>[]> { return (this.#made = [await put(new Uint8Array(500_000).fill(3))]); }
    length(): number { return this.#made.length; }
  }
  const shelf = await actor(Shelf, { placement: { node: first!.nodeId } }).create();
  const result = shelf.make.remote();
  const [ref] = await get(result);
  const big = remote((n: number) => new Uint8Array(n).fill(6)).options({ placement: { node: second!.nodeId }, retries: 0 });
  const unrepeatable = big.remote(400_000);
  await get(remote((x: Uint8Array) => x.length).options({ placement: { node: second!.nodeId } }).remote(unrepeatable));
  second!.kill('SIGKILL');
  await until('the node is dead', async () => (await cluster.row(second!)).state === 'dead');

  t.test('a lost result that may not be made again is lost, with the reason', async (t) => {
    await t.rejects(get(unrepeatable), { code: 'OBJECT_LOST', message: /retries/ });
  });

  t.test('an object put by an actor goes with the actor', async (t) => {
    t.equal((await get(ref!))[0], 3);
    first!.kill('SIGKILL');
    await until('the node is dead', async () => (await cluster.row(first!)).state === 'dead');
    await t.rejects(get(shelf.length.remote()), { code: 'ACTOR_DIED' });
  });
});

t.test('a node stops answering and comes back', async (t) => {
  const cluster = await connectedCluster(t, { nodes: [{ cpus: 1, labels: { name: 'frozen' } }] });
  const [frozen] = cluster.nodes;
  const file = join(cluster.root, 'runs');
  const touch = remote(async (name: string, ms: number) => {
    appendFileSync(file, `${name}\n`);
    if (context().attempt === 1) await new Promise((resolve) => setTimeout(resolve, ms));
    return context().nodeId as string;
  });
  const running = touch.options({ retries: 1 }).remote('running', 5000);
  await until('the task runs', () => linesOf(file).length === 1);
  const replacement = await cluster.addNode({ cpus: 1 });
  const workers = cluster.workersOf(frozen!);
  frozen!.kill('SIGSTOP');
  for (const pid of workers) process.kill(pid, 'SIGSTOP');

  t.test('it is declared dead in time, and its task runs elsewhere', async (t) => {
    await until('the node is dead', async () => (await cluster.row(frozen!)).state === 'dead');
    t.equal(await get(running), replacement.nodeId);
  });

  t.test('once it goes on it leaves by itself, with all of its processes', async (t) => {
    for (const pid of workers) process.kill(pid, 'SIGCONT');
    frozen!.kill('SIGCONT');
    await frozen!.exited;
    await until('its workers are gone', () => workers.every((pid) => !isRunning(pid)));
    t.notOk(existsSync(frozen!.folder), 'its folder is gone');
    t.equal(await touch('after', 1), replacement.nodeId);
    t.same(linesOf(file), ['running', 'running', 'after'], 'nothing ran more often than it may');
  });
});

t.test('a node that falls silent is missed by those who sum with it as soon as the head misses it', async (t) => {
  const cluster = await connectedCluster(t, { nodes: [{ cpus: 1 }, { cpus: 1 }] });
  const members = await gang(Summing, { size: 2, strategy: 'strict-spread', maxConcurrency: 2, onFailure: 'restart-member', maxRestarts: 1 }).create();
  const [, second] = await members.all.meet();
  const silent = cluster.nodes.find(({ nodeId }) => nodeId === second!.nodeId)!;
  const sums = members.members[0]!.sumOn();
  const lost = members.members[1]!.sumOn().catch((error: unknown) => error);
  const workers = cluster.workersOf(silent);
  silent.kill('SIGSTOP'); // its connections stay as they are, and nothing comes
  for (const pid of workers) process.kill(pid, 'SIGSTOP');
  await until('the head declares it dead', async () => (await cluster.row(silent)).state === 'dead');
  t.match(await sums, { reason: 'rank-gone', rank: 1, message: new RegExp(`rank 1 is lost to the communicator .*was on ${silent.nodeId}, which was lost`) });
  for (const pid of workers) process.kill(pid, 'SIGCONT');
  silent.kill('SIGCONT');
  await silent.exited;
  await kill(members);
  await lost;
});

t.test('the head is killed', async (t) => {
  const cluster = await connectedCluster(t, { nodes: [{ cpus: 1 }] });
  const [node] = cluster.nodes;
  const sleep = remote((ms: number) => new Promise((resolve) => setTimeout(resolve, ms)));
  const pending = sleep.remote(60_000);
  await until('the task runs', async () => (await cluster.status()).leases.running === 1);
  const failed = get(pending).then(() => 'no error', (error: MusterError) => error);
  cluster.head.kill('SIGKILL');

  t.test('drivers fail at once and say what was lost', async (t) => {
    const error = (await failed) as MusterError;
    t.match(error, { code: 'NOT_CONNECTED', message: /lost/ });
    await t.rejects(sleep(1), { code: 'NOT_CONNECTED' });
  });

  t.test('nodes and workers end by themselves, and nothing is left', async (t) => {
    await node!.exited;
    await until('no process is left', () => cluster.processes().length === 0);
    t.notOk(existsSync(node!.folder));
    t.notOk(existsSync(node!.arenaPath));
  });
});

t.test('a driver is killed', async (t) => {
  const cluster = await TestCluster.start({ nodeTimeout: `${NODE_TIMEOUT_MS}ms`, nodes: [{ cpus: 2 }] });
  t.teardown(() => cluster.stop());
  const [node] = cluster.nodes;
  const folder = join(cluster.root, 'program');
  mkdirSync(folder);
  writeFileSync(join(folder, 'driver.mjs'), `
    import { actor, get, init, put, remote } from ${JSON.stringify(import.meta.resolve('@muster/core'))};
    await init();
    class Held { ping() { return process.pid; } }
    const held = await actor(Held).create();
    const kept = await actor(Held, { name: 'kept', lifetime: 'detached' }).create();
    const object = await put(new Uint8Array(5_000_000));
    const length = await remote((bytes) => bytes.length)(object);
    const busy = remote(() => { for (;;); });
    const running = busy.remote();
    const waiting = Array.from({ length: 10 }, () => busy.remote());
    console.log(JSON.stringify({ held: await held.ping(), kept: await kept.ping(), length }));
    await get(running);
  `);
  const before = cluster.workersOf(cluster.head).length;
  const driver = spawn(process.execPath, [join(folder, 'driver.mjs')], { env: cluster.driverEnv(node), stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await new Promise<string[]>((resolve) => createInterface({ input: driver.stdout! }).once('line', (text) => resolve([text])));
  const pids = JSON.parse(line!) as { held: number; kept: number; length: number };
  t.equal(pids.length, 5_000_000);
  await until('its task runs', async () => (await cluster.status()).leases.running >= 3);
  driver.kill('SIGKILL');
  t.equal(await exitOf(driver), 'SIGKILL');

  t.test('its job is gone everywhere: workers, actors, objects, demands', async (t) => {
    await until('its actor is gone', () => !isRunning(pids.held));
    await until('the job is over', async () => {
      const status = await cluster.status();
      return status.jobs.running === 1 && status.drivers === 0 && status.waiting.length === 0 && status.leases.running === 1 && status.objectStore.objects === 0;
    });
    t.equal(cluster.workersOf(cluster.head).length, before);
  });

  t.test('its detached actor lives, alone', async (t) => {
    t.ok(isRunning(pids.kept));
    const busyWorkers = childrenOf(node!.pid).filter((pid) => pid === pids.held);
    t.same(busyWorkers, []);
  });
});
