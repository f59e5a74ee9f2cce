/** Whole models as ONNX: sizes that differ from the example's, what is folded, what is refused and where. */
import t, { type Test } from 'tap';
import {
  arange, checkpoint, dropout, exportOnnx, Generator, gelu, groupNorm, manualSeed, nn, noGrad, pad, rand, randint, randn, scaledDotProductAttention, tensor, tidy, tril, ones, zeros, type OnnxOptions, type Tensor,
} from '../index.js';
import { runOnnx } from '../test-support/onnx-run.js';

/** The largest difference of two f32 tensors, relative to the numbers. */
function distance(found: Tensor, wanted: Tensor): number {
  if (found.shape.join() !== wanted.shape.join() || found.dtype !== wanted.dtype) return Infinity;
  return found.sub(wanted).abs().div(wanted.abs().add(1)).amax().item();
}

/** What is stated in docs/tensors.md. */
const TOLERANCE = 1e-5;

interface Check {
  readonly model: nn.Module;
  readonly example: readonly Tensor[];
  readonly options: OnnxOptions;
  /** Each with inputs as forward() takes them. */
  readonly runs: readonly (readonly Tensor[])[];
}

async function check(t: Test, { model, example, options, runs }: Check, tolerance = TOLERANCE): Promise<void> {
  const bytes = exportOnnx(model, example, options);
  model.eval();
  for (const inputs of runs) {
    const found = await runOnnx(bytes, Object.fromEntries(inputs.map((input, index) => [options.inputNames![index]!, input])));
    const far = distance(found, noGrad(() => model.forward(...inputs)));
    t.ok(far < tolerance, `${inputs.map(({ shape }) => `[${shape.join()}]`).join(' and ')}: ${far}`);
  }
}

class Digits extends nn.Module {
  readonly features = new nn.Sequential(new nn.Conv2d(1, 8, 3, { padding: 1 }), new nn.BatchNorm2d(8), new nn.ReLU(), new nn.MaxPool2d(2), new nn.Conv2d(8, 16, 3, { bias: false }), new nn.GroupNorm(4, 16),
    new nn.SiLU(), new nn.AvgPool2d(2), new nn.Dropout(0.25));
  readonly head = new nn.Linear(16 * 6 * 6, 10);

  forward(images: Tensor): Tensor {
    return this.head.forward(this.features.forward(images).flatten(1)).logSoftmax(1);
  }
}

/** GPT-2's shape, small: its output is its embedding, transposed. */
class Gpt extends nn.Module {
  readonly tokens = new nn.Embedding(50, 16);
  readonly places = new nn.Embedding(12, 16);
  readonly blocks = [new Block(), new Block()];
  readonly norm = new nn.LayerNorm(16);

  forward(tokens: Tensor): Tensor {
    const embedded = this.tokens.forward(tokens).add(this.places.forward(arange(tokens.shape[1]!)));
    const last = this.blocks.reduce((x, block) => checkpoint((input) => block.forward(input), x), embedded);
    return this.norm.forward(last).matmul(this.tokens.weight.transpose());
  }
}

class Block extends nn.Module {
  readonly first = new nn.LayerNorm(16);
  readonly attention = new nn.MultiheadAttention(16, 4, { isCausal: true, dropout: 0.1 });
  readonly second = new nn.LayerNorm(16);
  readonly widen = new nn.Linear(16, 64);
  readonly narrow = new nn.Linear(64, 16);

  forward(x: Tensor): Tensor {
    const attended = x.add(this.attention.forward(this.first.forward(x)));
    return attended.add(this.narrow.forward(gelu(this.widen.forward(this.second.forward(attended)), { approximate: 'tanh' })));
  }
}

/** forward() as a function. */
class Program extends nn.Module {
  readonly #body: (...inputs: Tensor[]) => Tensor;

  constructor(body: (...inputs: Tensor[]) => Tensor) {
    super();
    this.#body = body;
  }

  forward(...inputs: Tensor[]): Tensor {
    return this.#body(...inputs);
  }
}

const program = (body: (...inputs: Tensor[]) => Tensor): nn.Module => new Program(body);

t.test('a perceptron answers for any number of rows', async (t) => {
  manualSeed(1);
  const model = new nn.Sequential(new nn.Linear(20, 16), new nn.ReLU(), new nn.Linear(16, 8), new nn.Tanh(), new nn.LayerNorm(8), new nn.Linear(8, 5), new nn.Softmax(-1));
  await check(t, { model, example: [rand([4, 20])], options: { inputNames: ['x'], dynamicAxes: { x: { 0: 'batch' } } }, runs: [[rand([1, 20])], [rand([4, 20])], [rand([33, 20])]] });
});

t.test('a convolutional network answers as in use, and is in training afterwards', async (t) => {
  manualSeed(2);
  const model = new Digits();
  tidy(() => model.forward(randn([8, 1, 28, 28])));
  const options = { inputNames: ['images'], outputNames: ['logits'], dynamicAxes: { images: { 0: 'batch' } } };
  exportOnnx(model, [zeros([1, 1, 28, 28])], options);
  t.ok(model.training && model.features.training, 'the export leaves it as it was');
  await check(t, { model, example: [zeros([1, 1, 28, 28])], options, runs: [[rand([1, 1, 28, 28])], [rand([7, 1, 28, 28])]] });
});

t.test('a GPT answers for any number of texts of any length', async (t) => {
  manualSeed(3);
  const model = new Gpt();
  const dynamicAxes = { tokens: { 0: 'batch', 1: 'places' } };
  const texts = (...shape: number[]): Tensor => randint(0, 50, shape, { generator: new Generator(shape[1]!) });
  await check(t, { model, example: [texts(2, 12)], options: { inputNames: ['tokens'], outputNames: ['logits'], dynamicAxes }, runs: [[texts(1, 1)], [texts(2, 12)], [texts(3, 7)]] });
});

t.test('models of 16 bits round where they do here', async (t) => {
  manualSeed(4);
  for (const [dtype, tolerance] of [['f16', 8e-3], ['bf16', 6e-2]] as const) {
    const model = new Gpt().to(dtype);
    const answers = new nn.Sequential(model, program((logits) => logits.to('f32')));
    const inputs = [randint(0, 50, [2, 6])];
    await check(t, { model: answers, example: inputs, options: { inputNames: ['tokens'] }, runs: [inputs] }, tolerance);
  }
});

t.test('weights have their names in the state, once, and what only depends on them is computed before', async (t) => {
  const model = new Gpt();
  const text = Buffer.from(exportOnnx(model, [zeros([1, 4], { dtype: 'i64' })], { inputNames: ['tokens'] })).toString('latin1');
  for (const name of ['tokens.weight', 'blocks.1.attention.in_proj_weight', 'norm.bias']) t.match(text, name);
  t.notMatch(text, 'Range', 'the places of a text whose length is the example\'s are a constant');
  const linear = new nn.Linear(1000, 10);
  t.ok(exportOnnx(linear, [zeros([1, 1000])]).length < 4 * linear.parameterCount + 1000);
});

t.test('every layer answers as here, for any number of examples', async (t) => {
  manualSeed(5);
  const rows = (...shape: number[]): Tensor => randn([5, ...shape]);
  const layers: readonly (readonly [nn.Module, Tensor])[] = [
    [new nn.Linear(6, 3), rows(6)], [new nn.Linear(6, 3, { bias: false }), rows(4, 6)], [new nn.Embedding(9, 4), randint(0, 9, [5, 3])], [new nn.Flatten(), rows(2, 3)],
    [new nn.Conv2d(4, 6, [3, 2], { stride: 2, padding: [1, 0], groups: 2 }), rows(4, 8, 7)], [new nn.MaxPool2d(3, { stride: 2, padding: 1 }), rows(2, 9, 8)],
    [new nn.Conv2d(2, 3, [2, 3], { padding: 'same', paddingMode: 'circular' }), rows(2, 5, 4)], [new nn.AvgPool2d(3, { stride: 2, padding: 1, ceilMode: true }), rows(2, 6, 4)],
    [new nn.AvgPool2d(3, { padding: 1, countIncludePad: false }), rows(2, 9, 8)], [new nn.AdaptiveAvgPool2d([3, 2]), rows(2, 7, 5)], [new nn.AdaptiveAvgPool2d(1), rows(2, 7, 5)],
    [new nn.LayerNorm([3, 4]), rows(2, 3, 4)], [new nn.LayerNorm(4, { affine: false }), rows(4)], [new nn.GroupNorm(2, 4), rows(4, 3, 2)], [new nn.BatchNorm1d(4), rows(4)], [new nn.BatchNorm1d(4), rows(4, 3)],
    [new nn.BatchNorm2d(4, { affine: false }), rows(4, 3, 2)], [new nn.MultiheadAttention(8, 2), rows(4, 8)], [new nn.MultiheadAttention(8, 4, { isCausal: true, bias: false }), rows(4, 8)],
    [new nn.Dropout(), rows(3)], [new nn.PReLU(3), rows(3, 2)],
    ...[new nn.ELU(2), new nn.GELU(), new nn.GELU({ approximate: 'tanh' }), new nn.GLU(), new nn.Hardsigmoid(), new nn.Hardswish(), new nn.Hardtanh({ min: -0.5, max: 2 }), new nn.Identity(), new nn.LeakyReLU(0.2),
      new nn.LogSigmoid(), new nn.LogSoftmax(1), new nn.Mish(), new nn.ReLU(), new nn.ReLU6(), new nn.SELU(), new nn.Sigmoid(), new nn.SiLU(), new nn.Softmax(1), new nn.Softplus({ beta: 2 }), new nn.Softsign(),
      new nn.Tanh()].map((layer) => [layer, rows(6)] as const),
  ];
  const covered = new Set<unknown>([nn.Module, nn.Sequential, ...layers.map(([layer]) => layer.constructor)]);
  const all = Object.values(nn).filter((each) => typeof each === 'function' && each.prototype instanceof nn.Module);
  t.strictSame(all.filter((each) => !covered.has(each)).map(({ name }) => name), [], 'all of nn');
  for (const [layer, example] of layers) {
    const [few, one] = [example.slice(0, 0, 3), example.slice(0, 0, 1)];
    await t.test(layer.constructor.name, async (t) => check(t, { model: layer, example: [example], options: { inputNames: ['x'], dynamicAxes: { x: { 0: 'batch' } } }, runs: [[example], [few], [one]] }));
  }
});

t.test('sizes that follow from dynamic ones do so in the file', async (t) => {
  const dynamicAxes = { x: { 0: 'a', 1: 'b' } };
  const programs: Readonly<Record<string, (x: Tensor) => Tensor>> = {
    'joined': (x) => x.reshape(-1, 4),
    'a margin': (x) => pad(x, [0, 1, 2, 0], { value: -1 }),
    'both at once': (x) => x.reshape(x.shape[0]! * x.shape[1]! * 2, 2),
    'turned round': (x) => x.transpose(0, 1).reshape(x.shape[1]!, x.shape[0]!, 2, 2),
    'without the last': (x) => x.slice(1, 0, -1),
    'the last': (x) => x.select(1, -1),
    'each second': (x) => x.slice(1, 0, undefined, 2),
    'from the second on': (x) => x.slice(0, 1),
    'repeated': (x) => x.unsqueeze(0).expand(3, -1, -1, -1),
    'repeated as often': (x) => x.sum([0, 1]).expand(x.shape[0]!, 4),
    'the mean of all': (x) => x.mean(),
    'a triangle': (x) => tril(x.matmul(x.transpose())),
    'zeros beside it': (x) => x.mul(zeros([x.shape[1]!, 1]).add(1)),
    'counted': (x) => x.add(arange(1, 2 * x.shape[1]!, 2).unsqueeze(1)),
    'the place of the largest': (x) => x.argmax(1).to('f32'),
    'seen by all': (x) => scaledDotProductAttention(x, x, x, { isCausal: true }),
    'along it': (x) => x.softmax(1),
    'where it is positive': (x) => x.maskedSelect(x.gt(0.5)),
    'the mean of each': (x) => x.mean(1),
    'a mean by hand': (x) => x.sum(0).mul(1 / x.shape[0]!).add(x.shape[1]!),
    'spread': (x) => x.variance([0], { correction: 0 }),
    'normalised in groups': (x) => groupNorm(x.reshape(x.shape[0]!, x.shape[1]!, 4).transpose(1, 2), 2),
  };
  for (const [name, body] of Object.entries(programs)) {
    await t.test(name, async (t) => check(t, { model: program(body), example: [rand([3, 6, 4])], options: { inputNames: ['x'], dynamicAxes }, runs: [[rand([2, 5, 4])], [rand([5, 2, 4])]] }));
  }
});

t.test('images of any size, of whose features the mean is taken: of one in the example, and of many in use', async (t) => {
  const model = new nn.Sequential(new nn.Conv2d(1, 4, 3, { stride: 4, padding: 1 }), new nn.ReLU(), new nn.AdaptiveAvgPool2d(1), new nn.Flatten());
  const options = { inputNames: ['x'], dynamicAxes: { x: { 0: 'batch', 2: 'height', 3: 'width' } } };
  for (const size of [4, 32]) await check(t, { model, example: [rand([2, 1, size, size])], options, runs: [[rand([1, 1, 4, 4])], [rand([3, 1, 64, 40])]] });
});

t.test('a model that gives its input back, or a constant, is one too', async (t) => {
  const options = { inputNames: ['x'] };
  await check(t, { model: program((x) => x), example: [rand([2])], options, runs: [[rand([2])]] });
  await check(t, { model: program((x) => x.contiguous().detach()), example: [rand([2])], options, runs: [[rand([2])]] });
  await check(t, { model: program(() => ones([3])), example: [rand([2])], options, runs: [[rand([2])]] });
});

class Wrong extends nn.Module {
  readonly inner = [program((x) => x), new nn.Sequential(new nn.ReLU(), program((x) => dropout(x, { training: true })))];

  forward(x: Tensor): Tensor {
    return this.inner.reduce((each, module) => module.forward(each), x);
  }
}

t.test('what is like a size among a few runs, and is none, is found out', async (t) => {
  const dynamic = { inputNames: ['x'], dynamicAxes: { x: { 0: 'batch', 1: 'height', 2: 'width' } } };
  const half = program((x) => x.slice(1, 0, Math.floor(x.shape[1]! / 2)));
  for (const height of [3, 8, 12]) t.throws(() => exportOnnx(half, [rand([2, height, 8])], dynamic), { code: 'TENSOR', message: /slice in the model itself .* no formula says why/ }, `half of ${height} is not 6 less the batch`);
  const thirds = program((x) => x.slice(0, 0, Math.ceil(x.shape[0]! / 3)));
  t.throws(() => exportOnnx(thirds, [rand([9])], { inputNames: ['x'], dynamicAxes: { x: { 0: 'places' } } }), { code: 'TENSOR' }, 'a third of 9, 8 and 7 is 3');
  t.throws(() => exportOnnx(program((x) => x.cumsum(0)), [rand([20])], { inputNames: ['x'], dynamicAxes: { x: { 0: 'places' } } }), { code: 'INVALID_ARGUMENT', message: /takes another way/ }, 'as many rounds for 20 as for 18');
});

t.test('what a model says of sizes near the example is told with these sizes', async (t) => {
  const even = program((x) => x.reshape(x.shape[0]! / 2, 2));
  t.throws(() => exportOnnx(even, [rand([8])], { dynamicAxes: { input: { 0: 'places' } } }), { code: 'INVALID_ARGUMENT', message: /a dynamic axis of a model that, run with places 7, says: reshape cannot take f32\[7\] and \[3.5, 2\]/ });
});

t.test('a model that takes no sizes far from the example goes out by those near it', async (t) => {
  const model = new nn.Sequential(new nn.Conv2d(1, 2, 7), new nn.ReLU());
  await check(t, { model, example: [rand([1, 1, 10, 10])], options: { inputNames: ['x'], dynamicAxes: { x: { 2: 'height', 3: 'width' } } }, runs: [[rand([1, 1, 7, 9])], [rand([1, 1, 30, 20])]] });
});

t.test('what cannot be said is refused with the operation and the path of its module', async (t) => {
  const x = rand([4, 6]);
  const dynamic = { inputNames: ['x'], dynamicAxes: { x: { 0: 'batch' } } };
  t.throws(() => exportOnnx(new Wrong(), [x]), { code: 'TENSOR', message: /exportOnnx of dropout in 'inner\.1\.1' cannot take f32\[4, 6\]: it drops at random/ });
  t.throws(() => exportOnnx(program((input) => input.add(randn([6]))), [x], dynamic), { code: 'TENSOR', message: /add in the model itself.*random/ });
  t.throws(() => exportOnnx(program((input) => input.add(randn([6]))), [x]), { code: 'TENSOR', message: /random/ }, 'also where nothing is dynamic');
  t.throws(() => exportOnnx(program((input) => input.mul(input.sum().item())), [x]), { code: 'TENSOR', message: /it reads numbers that depend on the input/ });
  t.throws(() => exportOnnx(program((input) => (input.shape[0] === 4 ? input : input.neg())), [x], dynamic), { code: 'INVALID_ARGUMENT', message: /takes another way when it is run again, from (neg|forward) in the model itself on/ });
  t.throws(() => exportOnnx(program((input) => input.mul(Math.sqrt(input.shape[0]!))), [x], dynamic), { code: 'TENSOR', message: /mul in the model itself/ });
  t.throws(() => exportOnnx(program(() => tensor([1]).mul(NaN)), []), { code: 'INVALID_ARGUMENT', message: /a tensor for each input/ });
  t.throws(() => exportOnnx(program((input) => input), [x], { inputNames: ['a', 'b'] }), { code: 'INVALID_ARGUMENT', message: /2 names of 1 input/ });
  t.throws(() => exportOnnx(program((input) => input), [x], { dynamicAxes: { y: { 0: 'batch' } } }), { code: 'INVALID_ARGUMENT', message: /dynamic axis of 'y'/ });
  t.throws(() => exportOnnx(program((input) => input), [x], { dynamicAxes: { input: { 2: 'batch' } } }), { code: 'INVALID_ARGUMENT', message: /one of its 2 dimensions/ });
  t.throws(() => exportOnnx(program((a, b) => a!.add(b!)), [x, rand([5, 6])], { inputNames: ['a', 'b'], dynamicAxes: { a: { 0: 'n' }, b: { 0: 'n' } } }), { code: 'INVALID_ARGUMENT', message: /of 4 and of 5/ });
  const model = new nn.Linear(6, 2);
  t.throws(() => exportOnnx(model, [rand([4, 5])]), { code: 'TENSOR', message: /linear/ });
  t.equal(Object.getOwnPropertyDescriptor(model, 'forward'), undefined, 'a failed export leaves nothing behind');
});
