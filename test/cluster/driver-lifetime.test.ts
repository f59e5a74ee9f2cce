/** Programs: the cluster of their own that ends with them, the cluster of others that does not, and what they show of their tasks' output. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { isRunning, TestCluster } from '../support/cluster.js';
import { processesMarked } from '../support/processes.js';
import { Program } from '../support/program.js';
import { until } from '../support/until.js';

const FLOOD_LINES = 100_000;

const root = mkdtempSync(join(tmpdir(), 'muster-l-'));
t.teardown(() => rmSync(root, { recursive: true, force: true }));

/** A program with a home folder of its own, and everything that belongs to it. */
class Own {
  readonly home = mkdtempSync(join(root, 'h'));
  readonly program: Program;

  constructor(source: string, { env = {}, isGroupLeader = false }: { readonly env?: NodeJS.ProcessEnv; readonly isGroupLeader?: boolean } = {}) {
    const { MUSTER_ADDRESS: _, ...inherited } = process.env;
    this.program = new Program(source, { folder: join(root, 'programs'), env: { ...inherited, MUSTER_HOME: this.home, ...env }, isGroupLeader });
  }

  get processes(): number[] {
    return processesMarked(`MUSTER_HOME=${this.home}`);
  }

  get nodeIds(): string[] {
    return readdirSync(this.home).filter((name) => name.startsWith('node-'));
  }

  /** What is there of it: processes, shared memory, sockets, logs, tokens. Empty folders do not count. */
  remains(nodeIds: readonly string[]): string[] {
    return [
      ...this.processes.map((pid) => `process ${pid}`),
      ...nodeIds.map((nodeId) => `/dev/shm/muster-${nodeId}`).filter((path) => existsSync(path)),
      ...this.#files(),
    ];
  }

  #files(): string[] {
    try {
      return readdirSync(this.home, { recursive: true, withFileTypes: true }).filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
    } catch {
      return ['a folder that is being removed'];
    }
  }

  /** Resolves when nothing is left of it. */
  async gone(t: Test, nodeIds: readonly string[]): Promise<void> {
    await until('nothing is left', () => this.remains(nodeIds).length === 0).catch(() => {});
    t.same(this.remains(nodeIds), []);
    t.same(this.nodeIds, []);
  }
}

/** Has a worker that spins, an actor that has started a process, and an object in shared memory. Then comes its `end`. */
const busyProgram = (end: string): string => `
  import { spawn } from 'node:child_process';
  await init({ cpus: 1, objectStore: '64MiB' });
  class Held {
    #enter;
    #entered = new Promise((resolve) => { this.#enter = resolve; });
    enter() { this.#enter(); }
    entered() { return this.#entered; }
    pids() { return [process.pid, spawn('sleep', ['600'], { stdio: 'ignore' }).pid]; }
  }
  const held = await actor(Held, { maxConcurrency: 2 }).create();
  const spins = remote(async (bytes) => { await held.enter(); for (;;); }).remote(await put(new Uint8Array(5_000_000)));
  await held.entered();
  console.log('ready', JSON.stringify(await held.pids()));
  ${end}
`;

t.test('a cluster of its own ends with its program', async (t) => {
  for (const { how, end, status, stderr = /^$/ } of [
    { how: 'at its end', end: '', status: '0' },
    { how: 'after shutdown()', end: `await shutdown(); console.log('down');`, status: '0' },
    { how: 'by process.exit()', end: 'process.exit(3);', status: '3' },
    { how: 'by an uncaught exception', end: `setImmediate(() => { throw new Error('the mistake'); }); await get(spins);`, status: '1', stderr: /Error: the mistake/ },
  ]) {
    await t.test(how, async (t) => {
      const own = new Own(busyProgram(end));
      await own.program.told('ready');
      const { nodeIds } = own;
      t.equal(await own.program.ended, status, own.program.stderr);
      t.match(own.program.stderr, stderr);
      if (status === '0') t.same(own.remains(nodeIds), [], 'it waits for its cluster to end');
      await own.gone(t, nodeIds);
    });
  }

  for (const { how, signal, isGroupLeader = false } of [
    { how: 'by SIGTERM', signal: 'SIGTERM' }, { how: 'by kill -9', signal: 'SIGKILL' },
    { how: 'by Ctrl-C, which goes to all of its processes', signal: 'SIGINT', isGroupLeader: true },
    { how: 'by Ctrl-\\, which goes to all of its processes', signal: 'SIGQUIT', isGroupLeader: true },
    { how: 'by the end of its terminal, of which all of its processes hear', signal: 'SIGHUP', isGroupLeader: true },
  ] as const) {
    await t.test(how, async (t) => {
      const own = new Own(busyProgram('await get(spins);'), { isGroupLeader });
      const pids = await own.program.told<number[]>('ready');
      const { nodeIds } = own;
      t.equal(nodeIds.length, 1);
      t.ok(existsSync(`/dev/shm/muster-${nodeIds[0]}`));
      t.ok(pids.every(isRunning));
      process.kill(isGroupLeader ? -own.program.child.pid! : own.program.child.pid!, signal);
      t.equal(await own.program.ended, signal, own.program.stderr);
      await own.gone(t, nodeIds);
    });
  }

  await t.test('in its own time after Ctrl-C, where the program listens to that itself', async (t) => {
    const own = new Own(`
      await init({ cpus: 1 });
      const square = remote((x) => x * x);
      process.once('SIGINT', async () => {
        await new Promise((resolve) => setTimeout(resolve, 500));
        console.log('after', await square(4));
        await shutdown();
      });
      console.log('ready', await square(3));
      await square.options({ cpus: 2, waitForNodes: true })(5).catch(() => {});
    `, { isGroupLeader: true });
    await own.program.told('ready');
    const { nodeIds } = own;
    process.kill(-own.program.child.pid!, 'SIGINT');
    t.equal(await own.program.told<number>('after'), 16);
    t.equal(await own.program.ended, '0', own.program.stderr);
    t.same(own.remains(nodeIds), []);
  });

  await t.test('by kill -9, after somebody has removed its files', async (t) => {
    const own = new Own(busyProgram('await get(spins);'));
    await own.program.told('ready');
    const { nodeIds } = own;
    rmSync(join(own.home, nodeIds[0]!), { recursive: true });
    own.program.child.kill('SIGKILL');
    t.equal(await own.program.ended, 'SIGKILL');
    await own.gone(t, nodeIds);
  });

  await t.test('killed while the cluster starts', async (t) => {
    const own = new Own('await init();');
    await until('its node is starting', () => own.processes.length > 1);
    own.program.child.kill('SIGKILL');
    t.equal(await own.program.ended, 'SIGKILL');
    await own.gone(t, own.nodeIds);
  });
});

t.test('init() and shutdown()', async (t) => {
  await t.test('the first remote call does init() by itself', async (t) => {
    const own = new Own(`
      const square = remote((x) => x * x);
      const [a, ref] = [square(3), square.remote(4)];
      console.log('values', JSON.stringify([await a, await get(ref), await square(await put(5))]));
    `);
    t.same(await own.program.told('values'), [9, 16, 25]);
    t.equal(await own.program.ended, '0', own.program.stderr);
    t.same(own.remains([]), []);
  });

  await t.test('may follow each other again and again in one program', async (t) => {
    const own = new Own(`
      const square = remote((x) => x * x);
      class Counter { #n = 0; add() { return ++this.#n; } }
      const codeOf = (promise) => promise.then(() => 'none', (error) => error.code);
      const first = await init({ cpus: 2, objectStore: '64MiB' });
      const again = await codeOf(init());
      const [object, counter] = [await put(new Uint8Array(1e6)), await actor(Counter).create()];
      const late = codeOf(get(remote(() => new Promise(() => {})).remote()));
      const one = [await square(2), await counter.add()];
      await Promise.all([shutdown(), shutdown()]);
      await shutdown();
      const { readdirSync } = await import('node:fs');
      const between = readdirSync(process.env.MUSTER_HOME).filter((name) => name.startsWith('node-'));
      const second = await init({ cpus: 1, objectStore: '64MiB' });
      const two = [await square(3), await (await actor(Counter).create()).add()];
      const stale = [await late, await codeOf(get(object)), await codeOf(remote((bytes) => bytes.length)(object)), await codeOf(counter.add())];
      console.log('told', JSON.stringify({ again, one, between, two, stale, isNew: first.nodeId !== second.nodeId && first.jobId !== second.jobId }));
      await shutdown();
      console.log('third', await square(4));
    `);
    t.same(await own.program.told('told'), {
      again: 'INVALID_ARGUMENT', one: [4, 1], between: [], two: [9, 1], stale: ['NOT_CONNECTED', 'NOT_CONNECTED', 'NOT_CONNECTED', 'NOT_CONNECTED'], isNew: true,
    });
    t.equal(await own.program.printed(/^third/), 'third 16');
    t.equal(await own.program.ended, '0', own.program.stderr);
    t.same(own.remains([]), []);
  });

  await t.test('a program ends when it has nothing left to wait for, whatever its tasks do', async (t) => {
    const own = new Own(`
      await init({ cpus: 2 });
      const slow = remote((ms, value) => new Promise((resolve) => setTimeout(resolve, ms, value)));
      slow.remote(600_000); // nobody waits for it
      get(slow.remote(300, 'awaited')).then((value) => console.log(value)); // this callback is to run
    `);
    await own.program.printed(/^awaited$/);
    t.equal(await own.program.ended, '0', own.program.stderr);
    t.same(own.remains([]), []);
  });

  await t.test('what cannot be an option is refused before anything is started', async (t) => {
    const own = new Own(`
      const wrong = [
        { address: 'somewhere' }, { address: 5 }, { address: '' }, { token: 5 }, { token: '' }, { labels: 5 }, { labels: ['a'] }, { labels: null }, { labels: { zone: 1 } }, { logs: 1 },
        { cpu: 2 }, null, { token: 'of no cluster' },
        ...['cpus', 'gpus', 'memory', 'objectStore'].map((name) => ({ address: 'unix:/nowhere', [name]: 1 })), { address: 'unix:/nowhere', resources: { tpu: 1 } },
        { address: 'unix:/nowhere', labels: { zone: 'a' }, cpus: 2 },
      ];
      const refusals = [];
      for (const options of wrong) refusals.push(await init(options).then(() => JSON.stringify(options), (error) => [error.code, error.message]));
      console.log('refused', JSON.stringify(refusals));
    `);
    const refusals = await own.program.told<string[][]>('refused');
    t.same(refusals.map(([code]) => code), Array.from({ length: 19 }, () => 'INVALID_ARGUMENT'));
    t.match(refusals.at(-1)![1], /^cpus, labels with address: 'unix:\/nowhere' is not valid: it must be left out/);
    t.equal(await own.program.ended, '0', own.program.stderr);
    t.same(own.remains([]), []);
  });

  await t.test('a cluster that cannot start is an error that says why', async (t) => {
    const own = new Own(`
      await init({ cpus: 1, objectStore: '900TiB' }).catch((error) => console.log('failed', JSON.stringify([error.code, error.message])));
      console.log('then', await remote(() => 1)());
    `);
    const [code, message] = await own.program.told<[string, string]>('failed');
    t.equal(code, 'INVALID_ARGUMENT');
    t.match(message, /object.store/i);
    t.equal(await own.program.printed(/^then/), 'then 1');
    t.equal(await own.program.ended, '0', own.program.stderr);
    t.same(own.remains([]), []);
  });
});

t.test('two drivers on one cluster', async (t) => {
  const cluster = await TestCluster.start({ head: { cpus: 4 } });
  t.teardown(() => cluster.stop());
  const driver = (end: string): Program => new Program(`
    await init();
    class Counter { #n = 0; add() { return ++this.#n; } pid() { return process.pid; } }
    const counter = await actor(Counter).create();
    const object = await put(new Uint8Array(2_000_000).fill(3));
    const say = remote(() => { console.log('said by a task'); return process.pid; });
    const spins = remote(() => { for (;;); });
    const [running, worker] = [spins.remote(), await say()];
    console.log('ready', JSON.stringify({ actor: await counter.pid(), worker, jobId: context().jobId }));
    ${end}
  `, { folder: join(cluster.root, 'programs'), env: cluster.driverEnv() });
  const goesOn = driver(`
    for await (const n of remote(async (n) => { await new Promise((resolve) => setTimeout(resolve, 5)); return n; }).map((function* () { for (let n = 0; ; n++) yield n; })(), { window: 4 })) {
      if (n % 20 === 0) console.log('progress', JSON.stringify([n, await counter.add(), (await get(object))[7], await remote((bytes) => bytes[9])(object)]));
    }
  `);
  const own = await goesOn.told<{ actor: number; worker: number; jobId: string }>('ready');
  const progress = (): number => goesOn.lines.filter((line) => line.startsWith('progress')).length;

  for (const [how, end, status] of [
    ['ends', '', '0'], ['is killed', `process.kill(process.pid, 'SIGKILL');`, 'SIGKILL'],
  ] as const) {
    await t.test(`one that ${how} takes its own tasks and actors along, and nothing else`, async (t) => {
      const other = driver(end);
      const pids = await other.told<{ actor: number; worker: number; jobId: string }>('ready');
      t.not(pids.jobId, own.jobId);
      t.not(pids.worker, own.worker, 'no worker serves two jobs');
      t.equal(await other.ended, status, other.stderr);
      await until('its processes are gone', () => !isRunning(pids.actor) && !isRunning(pids.worker));
      await until('its job is over', async () => { const { jobs, drivers } = await cluster.status(); return jobs.running === 1 && drivers === 1; });
      t.ok([own.actor, own.worker].every(isRunning), 'those of the other one run');
      const seen = progress();
      await until('the other one goes on', () => progress() > seen + 1);
    });
  }

  for (const [how, end, status] of [['ends', '', '0'], ['is killed', `process.kill(process.pid, 'SIGKILL');`, 'SIGKILL']] as const) {
    await t.test(`one on a machine without a node brings one along; when it ${how}, that is over`, async (t) => {
      const visitor = new Own(`
        const { nodeId } = await init({ cpus: 7 });
        const sum = remote((bytes) => bytes.reduce((a, b) => a + b, 0));
        const [where, total] = [await remote(() => context().nodeId)(), await sum(await put(new Uint8Array(1_000_000).fill(2)))];
        console.log('ready', JSON.stringify({ nodeId, where, total }));
        ${end}
      `, { env: { MUSTER_ADDRESS: cluster.address, MUSTER_TOKEN_FILE: cluster.head.ready.tokenFile } });
      const { nodeId, where, total } = await visitor.program.told<{ nodeId: string; where: string; total: number }>('ready');
      t.not(nodeId, cluster.head.nodeId);
      t.same([where, total], [cluster.head.nodeId, 2_000_000], 'its own node runs no tasks, and gives its objects to others');
      t.equal(await visitor.program.ended, status, visitor.program.stderr);
      t.match(visitor.program.stderr, 'init() leaves out cpus: the cluster at', 'what it asks of a cluster of its own is not asked of this one, and that is said');
      await visitor.gone(t, [nodeId]);
      await until('its node has left the cluster', async () => (await cluster.status()).nodes.alive === 1);
    });
  }

  await t.test('what they leave is the cluster, and room in it', async (t) => {
    const told = goesOn.lines.filter((line) => line.startsWith('progress')).map((line) => JSON.parse(line.slice(9)) as unknown);
    t.same(told, told.map((_, i) => [20 * i, i + 1, 3, 3]), 'nothing that it did was disturbed');
    goesOn.child.kill('SIGTERM');
    t.equal(await goesOn.ended, 'SIGTERM');
    t.equal(goesOn.stdout.match(/said by a task/g)!.length, 1, 'it was shown the output of its own task alone');
    await until('nothing is held', async () => {
      const { jobs, drivers, leases, actors, objectStore, total, available } = await cluster.status();
      return jobs.running === 0 && drivers === 0 && leases.running + leases.ending === 0 && Object.keys(actors).length === 0 && objectStore.objects === 0 && total['cpu'] === available['cpu'];
    });
    t.ok(isRunning(cluster.head.pid));
    t.same(readdirSync(cluster.head.home).filter((name) => name.startsWith('driver-')), [], 'no socket is left');
  });
});

t.test('output of tasks and actors', async (t) => {
  /** The lines that a task of this name printed. */
  const shown = (text: string, name: string): string[] =>
    text.split('\n').flatMap((line) => { const match = /^\((.+) (worker-\w+) pid=(\d+)\) (.*)$/.exec(line); return match && match[1] === name ? [match[4]!] : []; });

  await t.test('comes out at the driver, each line with who printed it, all of it and in order', async (t) => {
    const own = new Own(`
      await init({ cpus: 3 });
      const talk = (name) => remote(async () => {
        for (let i = 0; i < 200; i++) {
          if (i % 50 === 49) await new Promise((resolve) => setTimeout(resolve, 5));
          console.log(i);
        }
      }, { name });
      class Speaker {
        constructor() { console.log('made'); }
        async say(word, times) { for (let i = 0; i < times; i++) { console.log(word, i); await new Promise((resolve) => setTimeout(resolve, 1)); } }
      }
      await Promise.all(['one', 'two', 'three'].map((name) => talk(name)()));
      const speaker = await actor(Speaker, { maxConcurrency: 2, name: 'speaker' }).create();
      await Promise.all([speaker.say('a', 20), speaker.say('b', 20)]);
      await remote(function complain() { console.error('an error\\nin two lines'); process.stdout.write('without a '); process.stdout.write('newline'); })();
      const last = remote(() => { for (let i = 0; i < 100; i++) console.log('last', i); }, { name: 'last' });
      await last();
      await remote(function trail() { process.stdout.write('cut '); process.stdout.write('off'); })();
    `);
    t.equal(await own.program.ended, '0', own.program.stderr);
    const { stdout, stderr } = own.program;
    for (const name of ['one', 'two', 'three']) t.same(shown(stdout, name), Array.from({ length: 200 }, (_, i) => `${i}`));
    t.same(shown(stdout, 'speaker'), ['made']);
    const said = shown(stdout, 'speaker.say');
    for (const word of ['a', 'b']) t.same(said.filter((line) => line.startsWith(word)), Array.from({ length: 20 }, (_, i) => `${word} ${i}`));
    t.same(shown(stderr, 'complain'), ['an error', 'in two lines']);
    t.same(shown(stdout, 'complain'), ['without a newline']);
    t.same(shown(stdout, 'last'), Array.from({ length: 100 }, (_, i) => `last ${i}`), 'also what was printed just before the end');
    t.same(shown(stdout, 'trail'), ['cut off'], 'and the rest that no other output follows');
    t.equal(stdout.split('\n').filter((line) => line !== '' && !line.startsWith('(')).length, 0, 'nothing else is shown');
  });

  await t.test(`does not flood: of ${FLOOD_LINES.toLocaleString('en')} lines some are shown, the others counted, and the file has all`, async (t) => {
    const own = new Own(`
      const { nodeId } = await init({ cpus: 2 });
      const flood = remote((lines) => { for (let i = 0; i < lines; i++) console.log('line', i); }, { name: 'flood' });
      const beside = remote(() => 1);
      const flooding = flood(${FLOOD_LINES});
      await beside();
      await flooding;
      console.log('flooded', JSON.stringify(nodeId));
      process.once('SIGUSR2', () => { clearInterval(alive); });
      const alive = setInterval(() => {}, 1000);
      console.log('waits');
    `);
    const nodeId = await own.program.told<string>('flooded');
    await own.program.printed(/^waits$/);
    const logs = join(own.home, nodeId, 'logs');
    const inFiles = (): number => readdirSync(logs).reduce((sum, file) => sum + (readFileSync(join(logs, file), 'utf8').match(/^line \d+$/gm)?.length ?? 0), 0);
    await until('the files have all lines', () => inFiles() === FLOOD_LINES);
    own.program.child.kill('SIGUSR2');
    t.equal(await own.program.ended, '0', own.program.stderr);
    const lines = shown(own.program.stdout, 'flood').filter((line) => line.startsWith('line '));
    const numbers = lines.map((line) => Number(line.slice(5)));
    t.same(numbers, [...numbers].sort((a, b) => a - b), 'in order');
    t.same(numbers.slice(0, 500), Array.from({ length: 500 }, (_, i) => i), 'the first ones are shown');
    const leftOut = [...own.program.stdout.matchAll(/… (\d+) lines left out/g)].reduce((sum, match) => sum + Number(match[1]), 0);
    t.equal(numbers.length + leftOut, FLOOD_LINES);
    t.ok(numbers.length <= FLOOD_LINES / 4, `${numbers.length} lines were shown`);
  });

  await t.test('is not shown when the program does not want it', async (t) => {
    const own = new Own(`await init({ logs: false }); await remote(() => console.log('hidden'))(); console.log('seen');`);
    t.equal(await own.program.ended, '0', own.program.stderr);
    t.equal(own.program.stdout, 'seen\n');
  });
});
