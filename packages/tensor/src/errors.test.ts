/** What users do wrong: the error names the operation, what it was given and the rule, at their line; and memory, that ends. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t, { type Test } from 'tap';
import {
  adaptiveAvgPool2d, allocator, arange, autocast, autograd, checkpoint, clipGradNorm, conv2d, crossEntropy, embedding, full, GradScaler, layerNorm, manualSeed, maskedFill, maxPool2d, nn, noGrad, ones, optim, pad, randint, randn, scaledDotProductAttention, scatter, setMemoryLimit, tensor, tidy, toSafetensors, where, zeros, type Tensor,
} from './index.js';

const THIS_FILE = /errors\.test\.(js|ts):\d+:\d+\)?$/;

/** Runs what throws, and wants the stack to begin here. */
function refused(t: Test, body: () => unknown, message: RegExp, code = 'TENSOR'): void {
  const error = t.throws(body, { code, message }) as unknown as Error;
  const [first] = error.stack!.split('\n    at ').slice(1);
  t.match(first, THIS_FILE, 'the first frame is the caller');
}

t.test('shapes and dtypes that do not go together', async (t) => {
  const [a, b] = [ones([2, 3]), ones([4, 5])];
  refused(t, () => a.matmul(b), /matmul cannot take f32\[2, 3\] and f32\[4, 5\]: the columns of the first, 3, must be as many as the rows of the second, 4/);
  refused(t, () => a.add(b), /add cannot take f32\[2, 3\] and f32\[4, 5\]: their shapes do not broadcast/);
  refused(t, () => a.matmul(ones([3, 2], { dtype: 'f16' })), /matmul cannot take f32\[2, 3\] and f16\[3, 2\]: both must be numbers of one dtype/);
  refused(t, () => conv2d(ones([1, 3, 8, 8]), ones([4, 2, 3, 3])), /conv2d cannot take f32\[1, 3, 8, 8\] and f32\[4, 2, 3, 3\]: with 1 groups, the input must have 2 channels/);
  refused(t, () => conv2d(ones([1, 1, 8, 8]), ones([1, 1, 3, 3]), { padding: 'same', stride: 2 }), /a padding 'same' with strides of 2 x 2 is not valid: it must be with strides of 1/, 'INVALID_ARGUMENT');
  refused(t, () => new nn.Conv2d(1, 1, 3, { padding: 'same', stride: [1, 2] }), /a padding 'same' with strides of 1 x 2/, 'INVALID_ARGUMENT');
  refused(t, () => new nn.Conv2d(1, 1, 3, { paddingMode: 'mirror' as 'reflect' }), /a padding mode 'mirror' is not valid: it must be 'zeros', 'reflect', 'replicate', 'circular'/, 'INVALID_ARGUMENT');
  refused(t, () => maxPool2d(ones([1, 1, 8, 8]), 3, { padding: 2, ceilMode: true }), /maxPool2d cannot take f32\[1, 1, 8, 8\] and a window of 3 x 3 and a padding of 2 x 2/);
  refused(t, () => conv2d(ones([1, 0, 8, 8]), ones([2, 0, 3, 3])), /conv2d cannot take f32\[1, 0, 8, 8\] and f32\[2, 0, 3, 3\]: 0 channels cannot be convolved/);
  refused(t, () => conv2d(ones([1, 1, 0, 4]), ones([1, 1, 1, 1]), { padding: 1 }), /conv2d cannot take f32\[1, 1, 0, 4\] and f32\[1, 1, 1, 1\]: /);
  refused(t, () => maxPool2d(ones([1, 1, 4, 1]), [1, 2], { padding: [0, 1], dilation: 2, stride: 1 }), /maxPool2d cannot take f32\[1, 1, 4, 1\]: .*one lies outside of the image/);
  refused(t, () => adaptiveAvgPool2d(ones([1, 1, 0, 4]), 2), /adaptiveAvgPool2d cannot take f32\[1, 1, 0, 4\]: of images of nothing there are no means/);
  refused(t, () => pad(a, [1, 0, -1, 0]), /pad cannot take f32\[2, 3\] and \[1, 0, -1, 0\]: the margins are two whole numbers from 0 on/);
  refused(t, () => pad(a, [3, 0], { mode: 'reflect' }), /pad cannot take f32\[2, 3\] and margins of 3 and 0: margins of mode 'reflect' along 3 numbers are at most 2/);
  refused(t, () => a.reshape(-1, 0), /reshape cannot take f32\[2, 3\] and \[-1, 0\]: beside a size of 0, that of -1 may be any/);
  refused(t, () => ones([]).gather(0, tensor([0], { dtype: 'i64' })), /gather cannot take f32\[\]/);
  refused(t, () => layerNorm(a, [4]), /layerNorm cannot take f32\[2, 3\] and \[4\]: the input must end with the normalised shape/);
  refused(t, () => embedding(a, ones([2])), /embedding cannot take f32\[2, 3\] and f32\[2\]: the index must be i64 or i32/);
  refused(t, () => embedding(a, tensor([7], { dtype: 'i64' })), /embedding cannot take/);
  refused(t, () => where(a, a, a), /where cannot take f32\[2, 3\]: the condition must be bool/);
  refused(t, () => scatter(a, 1, tensor([[3]], { dtype: 'i64' }), ones([1, 1])), /scatter cannot take i64\[1, 1\]: the index 3 is outside a dimension of 3/);
  refused(t, () => maskedFill(zeros([2], { dtype: 'i64' }), ones([2], { dtype: 'bool' }), 0.5), /maskedFill cannot take i64\[2\] and 0\.5/);
  refused(t, () => crossEntropy(a, tensor([0, 7], { dtype: 'i64' })), /crossEntropy.*target 1 is 7/);
});

t.test('what a kernel refuses is told of what the operation was given, not of copies', async (t) => {
  const [a, classes] = [ones([2, 3]), tensor([0, 7], { dtype: 'i64' })];
  refused(t, () => a.indexSelect(0, classes), /^indexSelect cannot take f32\[2, 3\] and i64\[2\]: the index 7 is outside a dimension of 2/);
  refused(t, () => crossEntropy(a, classes), /^crossEntropy cannot take f32\[2, 3\] and i64\[2\]: target 1 is 7/);
  refused(t, () => autocast(() => crossEntropy(a.to('bf16'), classes)), /^crossEntropy cannot take bf16\[2, 3\] and i64\[2\]/);
  refused(t, () => embedding(a, classes), /^embedding cannot take f32\[2, 3\] and i64\[2\]: token 1 is 7/);
  refused(t, () => checkpoint((x) => x.indexSelect(0, classes), nn.parameter(a.clone())), /^indexSelect cannot take/);
  refused(t, () => crossEntropy(classes, a), /^crossEntropy cannot take i64\[2\] and f32\[2, 3\]: it takes floating \[classes\] and one class/);
  refused(t, () => a.chunk(0), /^chunk cannot take f32\[2, 3\]: 0 parts cannot be made/);
  refused(t, () => a.add([1] as never), /^add cannot take f32\[2, 3\] and an array: it takes a tensor, and another or a number/);
});

t.test('a mask of attention is of the scores, and no integers', async (t) => {
  const places = ones([2, 1, 4, 8]);
  refused(t, () => scaledDotProductAttention(places, places, places, { mask: ones([3, 3]) }), /scaledDotProductAttention cannot take .* and f32\[3, 3\]: the mask must broadcast to \[2, 1, 4, 4\], of 4 queries and 4 keys/);
  refused(t, () => scaledDotProductAttention(places, places, places, { mask: ones([4, 4], { dtype: 'i64' }) }), /the mask must be bool, of which true is seen, or floating point/);
});

t.test('within models the first frame is the line of the user that called, in their own modules too', async (t) => {
  const model = new nn.Sequential(new nn.Linear(3, 4), new nn.ReLU(), new nn.Linear(5, 2));
  refused(t, () => model.forward(ones([2, 3])), /linear cannot take f32\[2, 4\] and f32\[2, 5\] and f32\[2\]: the input's last dimension must be 5/);
  class Own extends nn.Module {
    forward(x: Tensor): Tensor { return x.add(ones([7])); }
  }
  const error = t.throws(() => new nn.Sequential(new Own()).forward(ones([2]))) as unknown as Error;
  t.match(error.stack?.split('\n    at ')[1], /Own\.forward/);
});

t.test('a tensor that was disposed of', async (t) => {
  const freed = ones([2], { requiresGrad: true });
  freed.dispose();
  refused(t, () => freed.add(1), /add cannot take f32\[2\].*: it was disposed of/);
  for (const use of [() => freed.toArray(), () => freed.memory(), () => freed.detach(), () => freed.reshape(1, 2), () => freed.backward(ones([2]))]) refused(t, use, /it was disposed of/);
});

t.test('memory that was given back is not taken, whoever asks', async (t) => {
  const freed = ones([3]);
  freed.dispose();
  freed.dispose();
  const x = ones([3], { requiresGrad: true });
  refused(t, () => x.mul(2).backward(freed), /backward cannot take f32\[3\]: it was disposed of/);
  x.registerHook(() => freed);
  t.throws(() => x.mul(2).sum().backward(), { message: /a gradient hook cannot take f32\[3\]: it was disposed of/ });
  refused(t, () => toSafetensors({ freed }), /toSafetensors of 'freed' cannot take f32\[3\]: it was disposed of/);
  refused(t, () => new nn.PReLU(3).loadStateDict({ weight: freed }), /loadStateDict of 'weight' cannot take f32\[3\]: it was disposed of/);
  const [one, other] = [ones([3]), ones([3])];
  t.not(one.memory().buffer, other.memory().buffer, 'and nobody shares it');
});

t.test('gradients that an operation or a hook of the user gives are gradients, of the shape that they must have', async (t) => {
  const x = ones([2], { requiresGrad: true });
  const doubling = (backward: (gradient: Tensor) => readonly Tensor[]): Tensor => autograd.apply({ name: 'doubling', forward: (_, [input]) => input!.mul(2), backward: (_, gradient) => backward(gradient) }, [x], null);
  refused(t, () => doubling((gradient) => [gradient.sum()]).sum().backward(), /backward cannot take f32\[\]: the gradient that doubling gives its input 0 must have that one's shape, \[2\]/);
  refused(t, () => doubling(() => []).sum().backward(), /it says nothing of the gradient of its input 0/);
  t.equal(x.grad, null);
  const leave = x.registerHook((async (gradient: Tensor) => gradient) as never);
  refused(t, () => x.mul(2).sum().backward(), /a gradient hook cannot take f32\[2\]: it must return a gradient or nothing/);
  leave();
});

t.test('what is asynchronous cannot be run within a scope, a mode or a precision', async (t) => {
  for (const [name, run] of [['noGrad', noGrad], ['tidy', tidy], ['autocast', autocast]] as const) {
    refused(t, () => (run as (body: () => unknown) => unknown)(async () => 1), new RegExp(`${name}\\(\\) of an asynchronous function is not valid`), 'INVALID_ARGUMENT');
  }
});

t.test('numbers that a tensor cannot hold, and what is no number', async (t) => {
  refused(t, () => tensor([1, NaN], { dtype: 'i64' }), /tensor cannot take NaN: i64 holds whole numbers/);
  refused(t, () => tensor([2 ** 31], { dtype: 'i32' }), /tensor cannot take 2147483648: i32 holds whole numbers from -2147483648/);
  refused(t, () => full([2], Infinity, { dtype: 'i64' }), /full cannot take Infinity/);
  refused(t, () => tensor([undefined as unknown as number]), /tensor cannot take undefined: its elements are numbers/);
  refused(t, () => zeros([2], { dtype: 'float32' as 'f32' }), /zeros cannot take the dtype 'float32': it must be one of f32, /);
  refused(t, () => arange(0, 1e15), /there is no memory for 8000000000000000 bytes/, 'OUT_OF_MEMORY');
});

t.test('optimizers, schedules and the scaler', async (t) => {
  const weight = nn.parameter(ones([2]));
  refused(t, () => new optim.SGD([weight], { lr: 1 } as object), /the option 'lr' of an optimizer is not valid: it must be one of learningRate, momentum/, 'INVALID_ARGUMENT');
  refused(t, () => new GradScaler({ init_scale: 1 } as object), /the option 'init_scale' of GradScaler/, 'INVALID_ARGUMENT');
  refused(t, () => clipGradNorm([weight], -1), /a largest norm of -1/, 'INVALID_ARGUMENT');
  for (const make of [optim.stepLR, optim.linearLR, optim.cosineAnnealingLR, optim.polynomialLR, optim.oneCycleLR]) refused(t, () => make(0), /a number of steps of 0 is not valid/, 'INVALID_ARGUMENT');
  const optimizer = new optim.SGD([weight]);
  refused(t, () => new optim.LRScheduler(optimizer, (step) => step / 0), /a schedule whose factor is NaN at step 0 is not valid/, 'INVALID_ARGUMENT');
  const falling = new optim.LRScheduler(optimizer, (step) => 1 - step);
  falling.step();
  refused(t, () => falling.step(), /a schedule whose factor is -1 at step 2/, 'INVALID_ARGUMENT');
  t.match([falling.steps, optimizer.groups[0]!.options.learningRate], [1, 0], 'and stays where it was');
  const scaler = new GradScaler({ initialScale: 4 });
  refused(t, () => new GradScaler({ initialScale: -1 }), /the loss scale is -1/);
  refused(t, () => scaler.update(), /update cannot take a GradScaler: no gradients were checked since the last update/);
  scaler.scale(weight.mul(3).sum()).backward();
  scaler.unscale(optimizer);
  refused(t, () => scaler.unscale(optimizer), /its gradients were unscaled since the last update/);
  t.strictSame(weight.grad!.toArray(), [3, 3], 'and stay what they were');
  scaler.step(optimizer);
  refused(t, () => scaler.step(optimizer), /has already stepped since the last update/);
});

t.test('what is no module is refused when it is put among them', async (t) => {
  const parts = (...modules: unknown[]) => () => new nn.Sequential(...modules as nn.Module[]);
  refused(t, parts(new nn.Linear(2, 2), (x: Tensor) => x.relu()), /part 1 of Sequential is not valid: it must be a module/, 'INVALID_ARGUMENT');
  refused(t, parts([new nn.Linear(2, 2)]), /part 0 of Sequential/, 'INVALID_ARGUMENT');
});

t.test('options of layers and tensors that nobody knows, and what no layer can have', async (t) => {
  const made: readonly [string, string, () => unknown][] = [
    ['biases', 'Linear', () => new nn.Linear(2, 2, { biases: false } as object)],
    ['strides', 'Conv2d', () => new nn.Conv2d(1, 1, 3, { strides: 2 } as object)],
    ['padding_idx', 'Embedding', () => new nn.Embedding(3, 2, { padding_idx: 0 } as object)],
    ['eps', 'LayerNorm', () => new nn.LayerNorm(2, { eps: 1e-6 } as object)],
    ['eps', 'GroupNorm', () => new nn.GroupNorm(1, 2, { eps: 1e-6 } as object)],
    ['eps', 'BatchNorm2d', () => new nn.BatchNorm2d(2, { eps: 1e-6 } as object)],
    ['dilation', 'AvgPool2d', () => new nn.AvgPool2d(2, { dilation: 2 } as object)],
    ['ceil_mode', 'MaxPool2d', () => new nn.MaxPool2d(2, { ceil_mode: true } as object)],
    ['causal', 'MultiheadAttention', () => new nn.MultiheadAttention(4, 2, { causal: true } as object)],
    ['requires_grad', 'a tensor', () => zeros([2], { requires_grad: true } as object)],
  ];
  for (const [option, of, make] of made) refused(t, make, new RegExp(`the option '${option}' of ${of} is not valid: it must be one of `), 'INVALID_ARGUMENT');
  refused(t, () => new nn.Dropout(2), /a dropout probability of 2 is not valid: it must be from 0 to 1/, 'INVALID_ARGUMENT');
});

t.test('graphs that are gone, and what was changed since', async (t) => {
  const x = ones([2], { requiresGrad: true });
  const once = x.mul(x).sum();
  once.backward();
  refused(t, () => once.backward(), /it was gone through before, and freed: pass retainGraph: true/);
  const weight = nn.parameter(tensor([2]));
  const loss = weight.mul(weight).sum();
  weight.grad = tensor([1]);
  new optim.SGD([weight]).step();
  refused(t, () => loss.backward(), /changed in place/);
  const norm = new nn.BatchNorm1d(2).eval();
  const used = norm.forward(ones([3, 2])).sum();
  norm.train().forward(randn([3, 2]));
  refused(t, () => used.backward(), /batchNorm needs it as it was, and it was changed in place since/);
  refused(t, () => { x.mul(2).requiresGrad = false; }, /take detach\(\) of it/);
  refused(t, () => ones([2]).backward(), /nothing that it was computed from requires a gradient/);
  refused(t, () => checkpoint((input) => input.add(ones([3])), x), /add cannot take/);
});

t.test('elements that do not lie in a row are not handed out', async (t) => {
  refused(t, () => ones([2, 3]).transpose().memory(), /its elements do not lie one behind the other: take contiguous\(\) of it/);
  t.equal(ones([2, 3]).transpose().contiguous().memory().length, 6);
});

t.test('memory has a limit, and the error says what was wanted and what is held', async (t) => {
  const before = allocator.limitBytes;
  t.teardown(() => { allocator.limitBytes = before; });
  const held = ones([256, 1024]);
  allocator.clear();
  const { usedBytes } = allocator.statistics();
  t.ok(usedBytes >= 2 ** 20);
  setMemoryLimit(usedBytes + 2 ** 20 + 2 ** 12);
  const first = ones([256, 1024]);
  refused(t, () => held.add(first), /there is no memory for 1048576 bytes more: tensors on cpu hold \d+ of \d+ bytes/, 'OUT_OF_MEMORY');
  first.dispose();
  t.equal(held.add(1).size, 2 ** 18, 'what is given back is there again');
  setMemoryLimit(before);
  refused(t, () => zeros([2 ** 46]), /there is no memory for 281474976710656 bytes more/, 'OUT_OF_MEMORY');
  refused(t, () => setMemoryLimit(0), /a memory limit of 0 bytes/, 'INVALID_ARGUMENT');
});

t.test('what is collected counts no more', async (t) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const before = allocator.statistics().usedBytes;
  (() => { for (let index = 0; index < 8; index++) randn([512, 512]); })();
  t.ok(allocator.statistics().usedBytes - before >= 8 * 2 ** 20);
  while (allocator.statistics().usedBytes - before >= 8 * 2 ** 20) {
    collect();
    await new Promise((resolve) => setImmediate(resolve));  // finalizers have a turn of their own
  }
  t.pass();
});

class Gpt extends nn.Module {
  readonly tokens = new nn.Embedding(65, 32);
  readonly blocks = [new Block(), new Block()];
  readonly norm = new nn.LayerNorm(32);
  readonly head = new nn.Linear(32, 65, { bias: false });

  forward(tokens: Tensor): Tensor {
    const embedded = this.tokens.forward(tokens);
    return this.head.forward(this.norm.forward(this.blocks.reduce((x, block) => block.forward(x), embedded)));
  }
}

class Block extends nn.Module {
  readonly first = new nn.LayerNorm(32);
  readonly attention = new nn.MultiheadAttention(32, 4, { isCausal: true });
  readonly second = new nn.LayerNorm(32);
  readonly hidden = new nn.Sequential(new nn.Linear(32, 128), new nn.GELU(), new nn.Linear(128, 32));

  forward(x: Tensor): Tensor {
    const attended = x.add(this.attention.forward(this.first.forward(x)));
    return attended.add(this.hidden.forward(this.second.forward(attended)));
  }
}

/** The most that a training step holds, with the parameters and their gradients. */
function stepBytes(model: nn.Module, before: number, lower: boolean): number {
  const [tokens, targets] = [randint(0, 65, [16, 64]), randint(0, 65, [1024])];
  allocator.resetPeak();
  tidy(() => autocast(() => crossEntropy(model.forward(tokens).flatten(0, 1), targets), { enabled: lower }).backward());
  const bytes = allocator.statistics().peakBytes - before;
  for (const each of [tokens, targets, ...model.parameters().flatMap((parameter) => [parameter, parameter.grad!])]) each.dispose();
  return bytes;
}

t.test('a model of 16 bits needs half of the memory for parameters, gradients and activations', async (t) => {
  manualSeed(1);
  const measure = (make: () => nn.Module, lower = false): number => {
    const before = allocator.statistics().usedBytes;
    return stepBytes(make(), before, lower);
  };
  const whole = measure(() => new Gpt());
  const half = measure(() => new Gpt().to('bf16'));
  t.ok(half < 0.55 * whole, `${half} and ${whole} bytes`);
  const cast = measure(() => new Gpt(), true);
  t.ok(cast < 0.78 * whole, `${cast} and ${whole} bytes: under autocast the parameters stay f32`);
});

t.test('parts that share a tensor share it in another dtype, too', async (t) => {
  const [one, other] = [new nn.Linear(4, 4), new nn.Linear(4, 4)];
  (other as { weight: Tensor }).weight = one.weight;
  const before = one.weight;
  const model = new nn.Sequential(one, other).to('bf16');
  t.equal(one.weight, other.weight);
  t.ok(before.isDisposed);
  t.strictSame([one.weight.dtype, model.parameters().length, one.weight.requiresGrad], ['bf16', 3, true]);
  t.equal(arange(3).to('bf16').dtype, 'bf16');
});
