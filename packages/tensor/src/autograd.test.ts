/** The graph, its way back, and the lives of tensors. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import {
  allocator, autograd, batchNorm, cat, checkpoint, crossEntropy, defaultGenerator, dropout, embedding, full, Generator, layerNorm, manualSeed, nn, noGrad, ones, optim, rand, randn, scaledDotProductAttention, scatter, scatterAdd, scope,
  setThreads, tensor, tidy, zeros, type Tensor,
} from './index.js';

const { apply } = autograd;
type Operation<Attributes> = autograd.Operation<Attributes>;

const leaf = (...values: number[]): Tensor => tensor(values, { requiresGrad: true });

t.test('a tensor that is used twice has the sum of both gradients', async (t) => {
  const x = leaf(1, 2, 3);
  x.mul(x).add(x).add(x.mul(2)).sum().backward();
  t.strictSame(x.grad?.toArray(), [5, 7, 9]);
  const y = leaf(1, 2);
  y.add(y).sum().backward();
  t.strictSame(y.grad?.toArray(), [2, 2], 'also both operands of one operation');
});

t.test('gradients add up until they are taken away', async (t) => {
  const x = leaf(1, 2);
  for (let pass = 0; pass < 3; pass++) x.mul(3).sum().backward();
  t.strictSame(x.grad?.toArray(), [9, 9]);
  x.zeroGrad();
  t.equal(x.grad, null);
  x.mul(3).backward(tensor([1, -1]));
  t.strictSame(x.grad?.toArray(), [3, -3]);
});

t.test('parts of a tensor have their gradients added where they came from', async (t) => {
  const random = new Generator(7);
  const draw = (most: number): number => Math.floor(rand([1], { generator: random }).item() * most);
  for (let round = 0; round < 20; round++) {
    const x = randn([5, 6], { generator: random });
    x.requiresGrad = true;
    const wanted = new Float32Array(30);
    const whole = round % 2 === 0 ? x : x.mul(1); // a leaf, and what is none
    const parts = Array.from({ length: 4 }, (_, index) => {
      const [start, step] = [draw(6), 1 + draw(3)];
      for (let place = 0; place < 30; place++) if (place % 6 >= start && (place % 6 - start) % step === 0) wanted[place]! += index + 1;
      return whole.slice(1, start, undefined, step).mul(index + 1).sum();
    });
    parts.reduce((sum, part) => sum.add(part), whole.mul(3).sum()).backward();
    wanted.forEach((_, place) => { wanted[place]! += 3; });
    t.strictSame(x.grad?.flatten().toArray(), [...wanted], `round ${round}`);
  }
});

t.test('gradients that others see are not written over', async (t) => {
  const x = leaf(-1, 2);
  const above = tensor([3, 4]);
  let seen: Tensor | undefined;
  const whole = x.mul(1);
  const result = whole.relu();
  result.retainGrad().registerHook((gradient) => { seen = gradient; });
  result.backward(above);
  t.strictSame([above, seen, result.grad, x.grad].map((each) => each?.toArray()), [[3, 4], [3, 4], [3, 4], [0, 4]]);
  const dropped = dropout(ones([64], { requiresGrad: true }).mul(1), { probability: 0.5 });
  dropped.registerHook((gradient) => { seen = gradient; });
  dropped.mul(2).sum().backward();
  t.strictSame(seen?.toArray(), ones([64]).mul(2).toArray());
});

t.test('a gradient is taken in the dtype of what it is of', async (t) => {
  const x = leaf(1 / 3, 1 / 7);
  x.mul(x).backward(tensor([1.5, 0.25], { dtype: 'bf16' }));
  t.strictSame(x.grad?.toArray(), x.detach().mul(tensor([3, 0.5])).toArray(), 'and not rounded to its own');
  const lower = layerNorm(leaf(1, 2, 5).to('bf16'), [3]);
  lower.registerHook(({ dtype }) => { t.equal(dtype, 'bf16'); });
  lower.backward(tensor([1, 2, 3]));
  x.registerHook((gradient) => gradient.to('bf16'));
  t.throws(() => x.mul(2).sum().backward(), { code: 'TENSOR', message: /a gradient hook cannot take f32\[2\] and bf16\[2\]: it must return a gradient of the same shape and dtype/ });
});

t.test('of what nothing flows back to there is no gradient, and the rest has its own', async (t) => {
  const [used, unused, parameter] = [leaf(1, 2), leaf(3, 4), leaf(5, 6)];
  const first: Operation<null> = { name: 'first', forward: (_, [input]) => input!.clone(), backward: (_, gradient) => [gradient, null] };
  for (const passed of [checkpoint((x) => x.mul(2), used, unused), apply(first, [used.mul(2), unused.mul(3).mul(parameter)], null)]) {
    const heard: Tensor[] = [];
    const leaves = [used, unused, parameter];
    const ends = leaves.map((each) => each.onGradient((tensor) => heard.push(tensor)));
    passed.add(parameter).sum().backward();
    t.strictSame(leaves.map(({ grad }) => grad?.toArray()), [[2, 2], undefined, [1, 1]]);
    t.strictSame(heard.map((tensor) => leaves.indexOf(tensor)).sort(), [0, 2], 'and is heard of when it is whole');
    leaves.forEach((each, index) => { each.zeroGrad(); ends[index]!(); });
  }
  checkpoint((x) => noGrad(() => x.mul(2)), used).sum().backward();
  t.equal(used.grad, null, 'nor of a segment of constants');
});

t.test('where relu is 0 nothing flows back, not even what is infinite', async (t) => {
  const x = leaf(...Array.from({ length: 40 }, (_, place) => place - 30));
  x.relu().sqrt().backward(ones([40]));
  t.strictSame((x.grad!.toArray() as number[]).slice(0, 33), [...Array<number>(31).fill(0), 0.5, Math.fround(Math.SQRT1_2 / 2)]);
});

t.test('a backward pass leaves no memory behind but the gradients, in 16 bits too', async (t) => {
  const bytes = (): number => allocator.statistics().usedBytes;
  const [x, y, weight] = [randn([8, 64]), randn([8, 64], { dtype: 'bf16' }), randn([64], { dtype: 'bf16' })];
  for (const each of [x, y, weight]) each.requiresGrad = true;
  const index = tensor(Array.from({ length: 64 }, (_, place) => 63 - place), { shape: [1, 64], dtype: 'i64' });
  const passes: Readonly<Record<string, () => Tensor>> = {
    cat: () => cat([x, y]), layerNorm: () => layerNorm(y, [64], { weight, bias: weight }), batchNorm: () => batchNorm(y, { weight, bias: weight }),
    scatter: () => scatter(x, 1, index, x.mul(2)), scatterAdd: () => scatterAdd(x, 1, index, x.mul(2)), embedding: () => embedding(y, index.clamp({ max: 7 })), to: () => y.to('f32').add(x),
  };
  for (const [name, pass] of Object.entries(passes)) {
    const before = bytes();
    tidy(() => pass().sum().backward());
    for (const each of [x, y, weight]) each.zeroGrad();
    t.equal(bytes(), before, name);
  }
});

t.test('views of nothing lie inside their memory, and what nothing used has zeros', async (t) => {
  const x = zeros([2, 0, 3], { requiresGrad: true });
  const part = x.narrow(2, 1, 2);
  t.equal(part.memory().length, 0);
  part.relu().sum().backward();
  t.strictSame(x.grad?.shape, [2, 0, 3]);
  const [keys, values] = [randn([2, 3, 4], { requiresGrad: true }), randn([2, 3, 4], { requiresGrad: true })];
  tidy(() => Array.from({ length: 4 }, () => full([2, 3, 4], 7)).length);  // what memory holds that comes next
  scaledDotProductAttention(zeros([2, 0, 4], { requiresGrad: true }), keys, values).sum().backward();
  t.strictSame([keys, values].map(({ grad }) => [...grad!.toTypedArray()]), [Array(24).fill(0), Array(24).fill(0)]);
  t.strictSame(crossEntropy(zeros([4, 0, 2]), zeros([4, 0, 2]), { reduction: 'none' }).shape, [4, 2]);
});

t.test('nothing is recorded without need', async (t) => {
  const x = leaf(1);
  t.equal(noGrad(() => x.mul(2)).requiresGrad, false);
  t.equal(x.detach().mul(2).requiresGrad, false);
  t.equal(tensor([1]).mul(2).requiresGrad, false);
  t.equal(x.gt(0).requiresGrad, false);
  x.detach().mul(x).sum().backward();
  t.strictSame(x.grad?.toArray(), [1]);
});

t.test('a graph is gone through once, unless it is retained', async (t) => {
  const x = leaf(2);
  const y = x.mul(x).sum();
  y.backward(undefined, { retainGraph: true });
  y.backward();
  t.strictSame(x.grad?.toArray(), [8]);
  t.throws(() => y.backward(), { code: 'TENSOR', message: /retainGraph/ });
});

t.test('what is wrong is named with the rule', async (t) => {
  const a = ones([2, 3]);
  t.throws(() => a.reshape(4, 2), { message: /reshape cannot take f32\[2, 3\] and \[4, 2\]: the new shape must have 6 elements/ });
  t.throws(() => a.sum(2), { message: /there is no dimension 2: it must be from -2 to 1/ });
  t.throws(() => crossEntropy(a, tensor([0, -1], { dtype: 'i64' })), { code: 'TENSOR', message: /one of them is -1/ });
  t.throws(() => a.indexSelect(0, tensor([2], { dtype: 'i64' })), { message: /the index 2 is outside a dimension of 2/ });
  t.throws(() => leaf(1, 2).mul(2).backward(), { message: /only of one number/ });
  t.throws(() => tensor([[1, 2], [3]]), { code: 'TENSOR' });
  t.throws(() => { tensor([1], { dtype: 'i64' }).requiresGrad = true; }, { message: /only floating point/ });
  t.throws(() => tensor([[]]).argmax(), { message: /of nothing/ });
});

t.test('hooks see and change gradients, of leaves and of others', async (t) => {
  const x = leaf(1, 2);
  const seen: unknown[] = [];
  const y = x.mul(2).retainGrad();
  const remove = y.registerHook((gradient) => { seen.push(gradient.toArray()); return gradient.mul(10); });
  x.registerHook((gradient) => { seen.push(gradient.toArray()); });
  y.sum().backward();
  t.strictSame(seen, [[1, 1], [20, 20]]);
  t.strictSame(y.grad?.toArray(), [10, 10]);
  t.strictSame(x.grad?.toArray(), [20, 20]);
  remove();
  t.throws(() => tensor([1]).registerHook(() => undefined), { code: 'TENSOR' });
});

t.test('listeners hear when a gradient is whole, the last layer first, while the others are on their way', async (t) => {
  const [first, second] = [new nn.Linear(3, 3), new nn.Linear(3, 1)];
  const order: string[] = [];
  for (const [layer, model] of Object.entries({ first, second })) {
    for (const [name, parameter] of model.namedParameters()) parameter.onGradient(({ grad }) => order.push(`${layer}.${name} ${grad !== null}`));
  }
  const x = first.forward(first.forward(ones([2, 3])));  // the first is used twice: its gradient is whole after both
  second.forward(x).sum().backward();
  t.strictSame(order.slice(0, 2).sort(), ['second.bias true', 'second.weight true']);
  t.strictSame(order.slice(2).sort(), ['first.bias true', 'first.weight true']);
});

t.test('gradients go where they are wanted: into views of one bucket', async (t) => {
  const model = new nn.Linear(2, 2);
  const bucket = tensor(new Float32Array(6)).keep();
  let start = 0;
  for (const parameter of model.parameters()) {
    parameter.gradientTarget = bucket.slice(0, start, start + parameter.size).reshape(...parameter.shape).keep();
    start += parameter.size;
  }
  const x = tensor([[1, 2]]);
  for (let pass = 0; pass < 2; pass++) {
    model.zeroGrad();
    tidy(() => model.forward(x).sum().backward());
    t.strictSame(bucket.toArray(), [1, 2, 1, 2, 1, 1]);
  }
  tidy(() => model.forward(x).sum().backward());
  t.strictSame(bucket.toArray(), [2, 4, 2, 4, 2, 2], 'and add up there');
});

t.test('a checkpoint computes again what it did not keep, with the same random numbers', async (t) => {
  const run = (keeps: boolean, requiresGrad: boolean): readonly unknown[] => {
    manualSeed(5);
    const [inner, outer] = [new nn.Linear(4, 4), new nn.Linear(4, 1)];
    const x = rand([3, 4], { generator: new Generator(1), requiresGrad });
    const segment = (input: Tensor): Tensor => dropout(inner.forward(input).tanh(), { probability: 0.5 });
    tidy(() => {
      const loss = defaultGenerator.inStream(3, () => outer.forward(keeps ? segment(x) : checkpoint(segment, x)).sum());
      manualSeed(6);  // the sequence that the segment drew from is another one now
      loss.backward();
    });
    return [x, ...inner.parameters(), ...outer.parameters()].map(({ grad }) => grad?.toArray());
  };
  t.strictSame(run(false, true), run(true, true));
  t.strictSame(run(false, false), run(true, false), 'also of parameters alone, as the first layers of a model have them');
});

t.test('a scope ends what was made in it, and keeps what it is told to', async (t) => {
  let inner: Tensor;
  let kept: Tensor;
  const x = leaf(1, 2);
  {
    using step = scope();
    inner = x.mul(2);
    kept = step.keep(inner.add(1));
    inner.sum().backward();
  }
  t.ok(inner.isDisposed);
  t.strictSame(kept.toArray(), [3, 5]);
  t.strictSame(x.grad?.toArray(), [2, 2], 'gradients outlive it');
  t.throws(() => inner.add(1), { code: 'TENSOR', message: /disposed/ });
  const { sum, parts } = tidy(() => ({ sum: x.sum(), parts: [x.mul(3), x.mul(4)] }));
  t.strictSame([sum.item(), parts[1]!.toArray()], [3, [4, 8]], 'tidy keeps what it returns');
});

t.test('what a backward pass needs outlives the scope it was made in, and ends with the last that could begin one', async (t) => {
  const x = randn([256, 256], { requiresGrad: true });
  const used = (): number => allocator.statistics().usedBytes;
  const loss = tidy(() => x.exp().mul(x.exp()).tanh().sum());
  loss.backward();
  const wanted = randn([256, 256], { generator: new Generator(0) });
  t.equal(x.grad!.shape.join(), wanted.shape.join());
  x.zeroGrad();
  const before = used();
  const kept = tidy(() => x.exp().exp().sum());
  t.ok(used() - before >= 2 * 2 ** 18, 'both results are saved');
  const further = tidy(() => kept.mul(2));
  kept.dispose();
  t.ok(used() - before >= 2 * 2 ** 18, 'another one could still go back');
  further.dispose();
  t.ok(used() - before < 2 ** 12, `${used() - before} bytes are left`);
  tidy(() => { for (let index = 0; index < 4; index++) x.exp().exp().sum(); });
  t.throws(() => tidy(() => x.exp().matmul(ones([3, 3]))));
  t.ok(used() - before < 2 ** 12, 'nor are there after passes that nobody goes back through');
  tidy(() => x.exp().exp().sum().backward());
  x.zeroGrad();
  t.ok(used() - before < 2 ** 12);
});

t.test('views share memory, which is given back with the last of them', async (t) => {
  const whole = tensor(new Float32Array(1000));
  const view = whole.slice(0, 10, 20);
  const before = allocator.statistics().cachedBytes;
  whole.dispose();
  whole.dispose();
  t.equal(allocator.statistics().cachedBytes, before);
  view.dispose();
  t.ok(allocator.statistics().cachedBytes > before);
});

t.test('a training step in a scope takes no new memory', async (t) => {
  const model = new nn.Sequential(new nn.Linear(20, 30), new nn.GELU(), new nn.LayerNorm(30), new nn.Linear(30, 5));
  const optimizer = new optim.AdamW(model.parameters());
  const [x, y] = [randn([8, 20]), tensor([0, 1, 2, 3, 4, 0, 1, 2], { dtype: 'i64' })];
  const step = (): void => tidy(() => {
    optimizer.zeroGrad();
    crossEntropy(model.forward(x), y).backward();
    optimizer.step();
  });
  for (let warm = 0; warm < 3; warm++) step();
  const { freshBlocks } = allocator.statistics();
  for (let again = 0; again < 10; again++) step();
  t.equal(allocator.statistics().freshBlocks, freshBlocks);
});

t.test('nor does one with a checkpoint', async (t) => {
  const [inner, outer] = [new nn.Linear(64, 64), new nn.Linear(64, 1)];
  const x = randn([32, 64]);
  const step = (): void => tidy(() => {
    const hidden = inner.forward(x);
    outer.forward(checkpoint((input) => input.tanh().mul(input), hidden)).sum().backward();
    checkpoint((input) => inner.forward(input), x).sum().backward();
    inner.zeroGrad();
    outer.zeroGrad();
  });
  for (let warm = 0; warm < 3; warm++) step();
  const { freshBlocks, usedBytes } = allocator.statistics();
  for (let again = 0; again < 10; again++) step();
  t.equal(allocator.statistics().freshBlocks, freshBlocks);
  t.equal(allocator.statistics().usedBytes, usedBytes);
});

t.test('without a scope the collector frees tensors', async (t) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const used = (): number => process.memoryUsage().arrayBuffers;
  collect();
  const before = used();
  for (let round = 0; round < 4; round++) {
    for (let index = 0; index < 16; index++) randn([256, 1024]).add(1);
    await new Promise((resolve) => setImmediate(resolve));
    collect();
  }
  await new Promise((resolve) => setImmediate(resolve));
  collect();
  t.ok(used() - before < 64 * 2 ** 20, `${used() - before} bytes more`);
});

t.test('random numbers are the same for the same seed, with any number of threads, from any position', async (t) => {
  const draw = (threads: number): number[] => {
    setThreads(threads);
    return [...new Generator(2 ** 40 + 3).normal([100_000]).toTypedArray() as Float32Array];
  };
  const one = draw(1);
  t.strictSame(draw(2), one);
  setThreads(0);
  const mean = one.reduce((total, value) => total + value, 0) / one.length;
  const variance = one.reduce((total, value) => total + (value - mean) ** 2, 0) / one.length;
  t.ok(Math.abs(mean) < 0.02 && Math.abs(variance - 1) < 0.02, `mean ${mean}, variance ${variance}`);
  const [generator, later] = [new Generator(9), new Generator(9)];
  generator.uniform([8]);
  later.position = 2;
  t.strictSame(later.uniform([5]).toArray(), generator.uniform([5]).toArray());
  t.strictSame([...new Generator(4).permutation(50)].sort((a, b) => a - b), Array.from({ length: 50 }, (_, index) => index));
  t.throws(() => new Generator(-1), { code: 'INVALID_ARGUMENT' });
  const drawn = (seed: number, stream: number): string => {
    const streams = new Generator(seed);
    const [inside, outside] = [streams.inStream(stream, () => streams.uniform([6])), streams.uniform([6])];
    return `${inside.toArray() as number[]} ${outside.toArray() as number[]}`;
  };
  const nested = new Generator(9);
  t.equal(String(nested.inStream(2, () => nested.inStream(1, () => nested.uniform([6]))).toArray()), drawn(9, 3).split(' ')[0]);
  t.equal(drawn(9, 0).split(' ')[1], drawn(9, 3).split(' ')[1], 'streams count on together');
  t.equal(new Set([...Array(50).keys()].flatMap((stream) => [drawn(9, stream).split(' ')[0], drawn(2 ** 53 - 1, stream).split(' ')[0]])).size, 100, 'and differ');
  t.throws(() => new Generator(1).inStream(2048, () => 0), { code: 'INVALID_ARGUMENT' });
});

t.test('Philox is Random123\'s', async (t) => {
  // Random123's known answers for philox4x32-10: a counter and a key of zeros.
  const words = new Generator(0).integers([4], 0, 2 ** 32).toArray() as number[];
  t.strictSame(words, [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
});

t.test('dropout keeps the mean, and does nothing in use', async (t) => {
  const x = ones([10_000], { requiresGrad: true });
  const dropped = dropout(x, { probability: 0.25, generator: new Generator(1) });
  t.ok(Math.abs(dropped.mean().item() - 1) < 0.02);
  t.ok(Math.abs(dropped.eq(0).to('f32').mean().item() - 0.25) < 0.02);
  dropped.sum().backward();
  t.strictSame(x.grad?.toArray(), dropped.toArray(), 'what was dropped has no gradient');
  t.equal(dropout(x, { training: false }), x);
  t.throws(() => dropout(x, { probability: 2 }), { code: 'INVALID_ARGUMENT' });
});

t.test('a state is loaded whole or not at all', async (t) => {
  const model = new nn.Sequential(new nn.Linear(2, 2), new nn.BatchNorm2d(2));
  t.strictSame(Object.keys(model.stateDict()), ['0.weight', '0.bias', '1.weight', '1.bias', '1.running_mean', '1.running_var', '1.num_batches_tracked']);
  t.throws(() => model.loadStateDict({}), { code: 'INVALID_ARGUMENT', message: /missing: 0\.weight/ });
  const before = model.stateDict()['0.weight']!.toArray();
  t.throws(() => model.loadStateDict({ ...model.stateDict(), '0.weight': ones([2, 2]), '0.bias': ones([3]) }), { code: 'TENSOR', message: /'0\.bias'/ });
  t.strictSame(model.stateDict()['0.weight']!.toArray(), before);
  t.equal(model.parameters().length, 4);
});
