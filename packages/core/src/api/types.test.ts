/** The types hold end to end. Checked by the compiler; the run only says that it compiled. */
import t from 'tap';
import { actor, get, getActor, placementGroup, put, remote, wait, type ActorHandle, type ObjectRef, type PlacementGroup } from '../index.js';

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function expectType<_Expected>() {
  return <Actual>(_value: () => Actual | Promise<Actual>, _same: Equal<Awaited<Actual>, _Expected>): void => {};
}

class Counter {
  #n = 0;
  label: string;
  constructor(start = 0, label = 'c') {
    this.#n = start;
    this.label = label;
  }
  add(k = 1): number {
    return (this.#n += k);
  }
  async later(): Promise<string> {
    return this.label;
  }
  *each(): Generator<number> {
    yield this.#n;
  }
  fails(): never {
    throw new RangeError(this.label);
  }
  parse(text: string): any {
    return JSON.parse(text);
  }
  get value(): number {
    return this.#n;
  }
}

// Never called: only its types count.
async function typesHold(): Promise<void> {
  const square = remote((x: number) => x * x);
  expectType<number>()(() => square(4), true);
  expectType<ObjectRef<number>>()(() => square.remote(4), true);
  expectType<number>()(() => square(square.remote(4)), true);
  expectType<number>()(() => get(square.remote(4)), true);
  const slow = remote(async (x: string) => [x]);
  expectType<string[]>()(() => slow('a'), true);
  expectType<[number, string[]]>()(() => get([square.remote(4), slow.remote('a')]), true);
  expectType<ObjectRef<Float32Array<ArrayBuffer>>>()(() => put(new Float32Array(4)), true);
  // @ts-expect-error a string is no number
  void square('4');
  // @ts-expect-error a reference to a string is no reference to a number
  void square(slow.remote('a'));
  // @ts-expect-error an unknown option
  square.options({ cpu: 1 });
  // @ts-expect-error too few arguments
  void square();
  square.options({ placement: { labels: { zone: 'a', disk: { in: ['ssd', 'nvme'] }, arch: { notIn: ['arm'] }, gpu: { exists: true }, rack: { in: ['r1'], weight: 10 } } } });
  square.options({ placement: { node: 'node-1', soft: true }, waitForNodes: true });
  actor(Counter, { waitForNodes: true });
  // @ts-expect-error it waits or it does not
  square.options({ waitForNodes: 60_000 });
  // @ts-expect-error one value is no list of values
  square.options({ placement: { labels: { disk: { in: 'ssd' } } } });
  // @ts-expect-error a weight alone is no condition
  square.options({ placement: { labels: { rack: { weight: 10 } } } });

  const group = await placementGroup([{ cpus: 1, gpus: 0.5, labels: { zone: { in: ['a', 'b'] } } }, { memory: '1GiB', resources: { tpu: 1 } }], {
    strategy: 'strict-spread', topology: { rack: 'same', zone: { atMost: 1 }, 'nvlink-domain': 'fewest' }, timeoutMs: 1000, name: 'first', waitForNodes: true,
  });
  group satisfies PlacementGroup;
  group.bundles satisfies readonly { readonly nodeId: string | null }[];
  square.options({ placement: { group, bundle: 0, captureChildTasks: true } });
  remote((handle: PlacementGroup) => handle.remove())(group) satisfies Promise<void>;
  // @ts-expect-error an unknown strategy
  void placementGroup([{ cpus: 1 }], { strategy: 'tight' });
  // @ts-expect-error an unknown rule
  void placementGroup([{ cpus: 1 }], { topology: { rack: 'most' } });
  // @ts-expect-error an id is no group
  square.options({ placement: { group: group.id } });

  const words = remote(async function* (path: string) { yield path; });
  for await (const word of words('file')) word satisfies string;
  for await (const ref of words.remote('file')) ref satisfies ObjectRef<string>;
  for await (const y of square.map([1, 2])) y satisfies number;
  remote((): never => { throw new RangeError(); })() satisfies Promise<never>;
  remote((text: string) => JSON.parse(text))('1') satisfies Promise<unknown>;

  const RemoteCounter = actor(Counter, { cpus: 1 });
  const counter = await RemoteCounter.create(10, 'x');
  counter satisfies ActorHandle<Counter>;
  expectType<number>()(() => counter.add(2), true);
  expectType<ObjectRef<number>>()(() => counter.add.remote(2), true);
  expectType<string>()(() => counter.later(), true);
  for await (const n of counter.each()) n satisfies number;
  counter.fails() satisfies Promise<never>;
  counter.parse('1') satisfies Promise<unknown>;
  // @ts-expect-error fields are not reachable
  void counter.label;
  // @ts-expect-error accessors are not reachable
  void counter.value;
  // @ts-expect-error a string is no number
  void RemoteCounter.create('10');
  expectType<ActorHandle<Counter>>()(() => getActor<Counter>('hits'), true);
  const { ready, pending } = await wait([square.remote(1), square.remote(2)], { count: 1 });
  ready satisfies ObjectRef<number>[];
  pending satisfies ObjectRef<number>[];
  expectType<string[] | number>()(async () => get((await wait([square.remote(1), slow.remote('a')])).ready[0]!), true);
}

t.test('arguments, results, references, generators and handles keep their types', (t) => {
  t.type(typesHold, 'function');
  t.end();
});
