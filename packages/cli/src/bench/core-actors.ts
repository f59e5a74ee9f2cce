/** Actor benchmarks. Names and bodies are Ray's: see bench/core-names.md. */
import { availableParallelism } from 'node:os';
import { actor, get, put, remote, type ActorHandle, type ObjectRef } from '@muster/core';
import { rate, type Benchmark } from './measure.js';

const CALLS = 1000;
const CALLS_EACH = 5000;
/** As many actors as Ray's benchmark makes: half of the cores. */
const ACTORS = Math.max(1, availableParallelism() >> 1);

class Server {
  noOp(): string {
    return 'ok';
  }

  noOpWith(_value: unknown): string {
    return 'ok';
  }
}

class AsyncServer {
  async noOp(): Promise<string> {
    return 'ok';
  }

  async noOpWith(_value: unknown): Promise<string> {
    return 'ok';
  }
}

interface Served {
  noOp(): unknown;
}

class CallClient {
  async calls(servers: readonly ActorHandle<Served>[], count: number): Promise<void> {
    const refs: ObjectRef[] = [];
    for (const server of servers) for (let i = 0; i < count; i++) refs.push(server.noOp.remote());
    await get(refs);
  }
}

class ArgumentClient {
  #server: ActorHandle<Server>;
  constructor(server: ActorHandle<Server>) {
    this.#server = server;
  }

  async calls(count: number): Promise<void> {
    const value = await put(0);
    const refs: ObjectRef[] = [];
    for (let i = 0; i < count; i++) refs.push(this.#server.noOpWith.remote(value));
    await get(refs);
  }
}

const callInTurn = remote(async function callInTurn(servers: readonly ActorHandle<Served>[], count: number) {
  const refs: ObjectRef[] = [];
  for (let i = 0; i < count; i++) refs.push(servers[i % servers.length]!.noOp.remote());
  await get(refs);
});

async function batch(server: ActorHandle<Served>): Promise<void> {
  const refs: ObjectRef[] = new Array(CALLS);
  for (let i = 0; i < CALLS; i++) refs[i] = server.noOp.remote();
  await get(refs);
}

async function batchWith(server: ActorHandle<AsyncServer>): Promise<void> {
  const refs: ObjectRef[] = new Array(CALLS);
  for (let i = 0; i < CALLS; i++) refs[i] = server.noOpWith.remote(i);
  await get(refs);
}

/** A benchmark whose actors are made when it runs. */
function withActors(name: string, count: number, prepare: () => Promise<() => Promise<unknown>>): Benchmark {
  return { name, run: async () => rate(name, count, await prepare()).run() };
}

const servers = (count: number): Promise<ActorHandle<Server>[]> => Promise.all(Array.from({ length: count }, () => actor(Server).create()));
const asyncServers = (count: number): Promise<ActorHandle<AsyncServer>[]> => Promise.all(Array.from({ length: count }, () => actor(AsyncServer, { maxConcurrency: 1000 }).create()));

function variants(): readonly Benchmark[] {
  return [
    withActors('1:1 actor calls sync', 1, async () => {
      const server = await actor(Server).create();
      return () => server.noOp();
    }),
    withActors('1:1 actor calls async', CALLS, async () => {
      const server = await actor(Server).create();
      return () => batch(server);
    }),
    withActors('1:1 actor calls concurrent', CALLS, async () => {
      const server = await actor(Server, { maxConcurrency: 16 }).create();
      return () => batch(server);
    }),
    withActors('1:1 async-actor calls sync', 1, async () => {
      const [server] = await asyncServers(1);
      return () => server!.noOp();
    }),
    withActors('1:1 async-actor calls async', CALLS, async () => {
      const [server] = await asyncServers(1);
      return () => batch(server!);
    }),
    withActors('1:1 async-actor calls with args async', CALLS, async () => {
      const [server] = await asyncServers(1);
      return () => batchWith(server!);
    }),
  ];
}

function fanOuts(kind: 'actor' | 'async-actor', make: (count: number) => Promise<ActorHandle<Served>[]>): readonly Benchmark[] {
  return [
    withActors(`1:n ${kind} calls async`, CALLS_EACH * ACTORS, async () => {
      const all = await make(ACTORS);
      const client = await actor(CallClient).create();
      return () => client.calls(all, CALLS_EACH);
    }),
    withActors(`n:n ${kind} calls async`, CALLS_EACH * 4, async () => {
      const all = await make(ACTORS);
      return () => Promise.all(Array.from({ length: 4 }, () => callInTurn(all, CALLS_EACH)));
    }),
  ];
}

export function actorBenchmarks(): readonly Benchmark[] {
  return [
    ...variants(),
    ...fanOuts('actor', servers),
    ...fanOuts('async-actor', asyncServers),
    withActors('n:n actor calls with arg async', CALLS * ACTORS, async () => {
      const clients = await Promise.all((await servers(ACTORS)).map((server) => actor(ArgumentClient).create(server)));
      return () => Promise.all(clients.map((client) => client.calls(CALLS)));
    }),
  ];
}
