/** Streamed examples: what is read when, what is kept, and what a source does wrong. */
import t from 'tap';
import { DataLoader } from './data-loader.js';
import { dataset, streamedDataset } from './dataset.js';

type Numbered = { readonly number: Float32Array; readonly pair: Uint8Array };

const rows = (first: number, count: number): Numbered =>
  ({ number: Float32Array.from({ length: count }, (_, row) => first + row), pair: Uint8Array.from({ length: 2 * count }, (_, at) => first + (at >> 1)) });

/** A source that answers a read when it is told to. */
class Source {
  readonly reads: { readonly first: number; readonly answer: () => void }[] = [];

  read = (first: number, count: number): Promise<Numbered> => new Promise((resolve) => this.reads.push({ first, answer: () => resolve(rows(first, count)) }));
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test('reads the next window while one is used, and no more', async (t) => {
  const source = new Source();
  const loader = new DataLoader(streamedDataset({ exampleCount: 400, examplesPerBlock: 10, read: source.read }), { rank: 0, ranks: 1, batchSize: 10, seed: 1, shuffle: false });
  const batches = loader.batches(0);
  const first = batches.next();
  await settled();
  t.strictSame(source.reads.map((read) => read.first), [0, 10, 20, 30, 40, 50, 60, 70]);
  for (const { answer } of source.reads.splice(0)) answer();
  const { value } = await first;
  t.match(value, { step: 0, epoch: 0, exampleCount: 10 });
  t.strictSame([...value.columns.number], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  t.strictSame([...value.columns.pair].slice(0, 4), [0, 0, 1, 1]);
  for (const step of [1, 2, 3, 4]) {
    t.equal((await batches.next()).value.step, step, 'nothing is waited for that was read ahead');
    await settled();
    t.strictSame(source.reads.splice(0).map(({ first, answer }) => (answer(), first)), step === 2 ? [80, 90, 100, 110] : [], 'two batches are made ahead');
  }
});

t.test('shows every example once an epoch to some rank, from any step on', async (t) => {
  const dataset = streamedDataset({ exampleCount: 90, examplesPerBlock: 7, read: rows });
  const loaders = [0, 1, 2].map((rank) => new DataLoader(dataset, { rank, ranks: 3, batchSize: 5, seed: 3 }).batches(2));
  const seen: number[] = [];
  for (let step = 2; step < 12; step++) for (const loader of loaders) {
    const { columns } = (await loader.next()).value;
    t.ok(columns.number.every((number, row) => columns.pair[2 * row] === number));
    if (step >= 6) seen.push(...columns.number);
  }
  t.strictSame(seen.sort((a, b) => a - b), [...Array(90).keys()]);
});

t.test('what a source does wrong is told by the batch that needs it', async (t) => {
  const failing = new DataLoader(streamedDataset({ exampleCount: 20, examplesPerBlock: 10, read: (first) => { if (first === 10) throw new RangeError('no such file'); return rows(first, 10); } }), { rank: 0, ranks: 1, batchSize: 10, seed: 1, shuffle: false }).batches(0);
  t.equal((await failing.next()).value.step, 0);
  await t.rejects(failing.next(), { name: 'RangeError', message: 'no such file' });
  const short = new DataLoader(streamedDataset({ exampleCount: 20, examplesPerBlock: 10, read: () => rows(0, 9) }), { rank: 0, ranks: 1, batchSize: 10, seed: 1 });
  await t.rejects(short.batches(0).next(), { code: 'INVALID_ARGUMENT', message: /column number of 9 numbers that was read for the 10 examples from \d+ on/ });
  const read = (first: number, wrong: unknown) => new DataLoader(streamedDataset({ exampleCount: 20, examplesPerBlock: 8, read: (from, count) => (from === first ? wrong : rows(from, count)) as ReturnType<typeof rows> }), { rank: 0, ranks: 1, batchSize: 20, seed: 1, shuffle: false }).batches(0).next();
  await t.rejects(read(16, rows(16, 8)), { code: 'INVALID_ARGUMENT', message: /^number: 2 of \w+, pair: 4 of \w+ that was read for the 4 examples from 16 on is not valid: it must be as in the blocks before: number: 1 of \w+, pair: 2 of/ }, 'as many as in a whole block, of the last');
  await t.rejects(read(8, { other: new Float32Array(8) }), { code: 'INVALID_ARGUMENT', message: /^other: 1 of Float32Array that was read for the 8 examples from 8 on/ });
  await t.rejects(read(8, undefined), { code: 'INVALID_ARGUMENT', message: /what was read for the 8 examples from 8 on is not valid: it must be columns/ });
  await t.rejects(read(8, { number: [1, 2, 3, 4, 5, 6, 7, 8] }), { code: 'INVALID_ARGUMENT', message: /the column number that was read for .* a typed array/ });
  t.throws(() => streamedDataset({ exampleCount: 0, examplesPerBlock: 10, read: rows }), { code: 'INVALID_ARGUMENT', message: /exampleCount 0/ });
});

t.test('bytes as they come from a file are bytes in a batch', async (t) => {
  const bytes = streamedDataset({ exampleCount: 4, examplesPerBlock: 2, read: (first, count) => ({ x: first === 0 ? Buffer.alloc(count, 3) : new Uint8Array(count).fill(3) }) });
  const { columns } = (await new DataLoader(bytes, { rank: 0, ranks: 1, batchSize: 4, seed: 1 }).batches(0).next()).value;
  t.equal(columns.x.constructor, Uint8Array);
  t.strictSame([...columns.x], [3, 3, 3, 3]);
});

t.test('columns that are no typed arrays are refused', async (t) => {
  await t.rejects(dataset({ x: [1, 2] as never }, 2), { code: 'INVALID_ARGUMENT', message: /the column x .*a typed array/ });
  await t.rejects(dataset(null as never, 2), { code: 'INVALID_ARGUMENT', message: /without columns/ });
});

t.test('a rank that is none of the ranks is refused', (t) => {
  const set = streamedDataset({ exampleCount: 20, examplesPerBlock: 10, read: (first) => rows(first, 10) });
  for (const rank of [2, -1, 0.5, NaN]) t.throws(() => new DataLoader(set, { rank, ranks: 2, batchSize: 5, seed: 1 }), { code: 'INVALID_ARGUMENT', message: `the rank ${rank} of a loader for 2 ranks` });
  t.end();
});
