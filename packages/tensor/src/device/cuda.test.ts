/** Tensors on a GPU: what PyTorch computed, on the kernels of native/cuda in the emulator; memory, and what is refused. */
import t from 'tap';
import type { CudaLibrary } from '@muster/native/cuda';
import {
  clipGradNorm, crossEntropy, cudaLacks, dropout, fromSafetensors, Generator, GradScaler, gradNorm, nn, ones, optim, rand, randn, scaledDotProductAttention, tensor, tidy, toSafetensors, tril, zeros, type Tensor,
} from '../index.js';
import { CALLS, type Options } from '../test-support/calls.js';
import { emulatedCuda } from '../test-support/emulated-cuda.js';
import { difference, fixture, recordedTensor, type Recorded } from '../test-support/recorded.js';
import { useCudaLibrary } from './cuda.js';

t.test('without a driver the error says what is missing', async (t) => {
  useCudaLibrary(null);
  t.match(cudaLacks(), /driver|library|GPU/);
  t.throws(() => ones([2], { device: 'cuda' }), { code: 'INVALID_ARGUMENT', message: /the device 'cuda' is not valid: .*(driver|library|GPU)/ });
});

const emulator = emulatedCuda();
const skip = typeof emulator === 'string' ? emulator : false;
const library = emulator as CudaLibrary;
t.beforeEach(() => { if (skip === false) useCudaLibrary(library); });

interface Case {
  readonly call: string;
  readonly options: Options;
  readonly inputs: readonly Recorded[];
  readonly result: Recorded;
  readonly gradient?: Recorded;
  readonly gradients?: readonly (Recorded | null)[];
}

/** One recorded call on the device, compared on the host. */
function compare(recorded: Case): string[] {
  const inputs = recorded.inputs.map((input, index) => {
    const leaf = recordedTensor(input).to('cuda').detach();
    if (recorded.gradients?.[index]) leaf.requiresGrad = true;
    return leaf;
  });
  const result = CALLS[recorded.call]!(inputs, recorded.options);
  const differences = [result.device.name === 'cuda:0' ? null : `the result is on ${result.device.name}`, difference(result.to('cpu'), recorded.result)];
  if (recorded.gradient !== undefined) {
    result.backward(recordedTensor(recorded.gradient).to('cuda'));
    recorded.gradients!.forEach((gradient, index) => {
      if (gradient === null) return;
      const { grad } = inputs[index]!;
      const found = grad === null ? 'there is none' : difference(grad.to('cpu'), gradient, recorded.inputs.map(({ dtype }) => dtype));
      differences.push(found === null ? null : `the gradient of input ${index}: ${found}`);
    });
  }
  return differences.filter((each) => each !== null);
}

t.test('every operation and its gradient are PyTorch\'s', { skip }, async (t) => {
  for (const recorded of [...fixture<readonly Case[]>('operations'), ...fixture<readonly Case[]>('corners')]) {
    const title = `${recorded.call} of ${recorded.inputs.map(({ dtype, shape }) => `${dtype}[${shape.join()}]`).join(' and ')} ${JSON.stringify(recorded.options)}`;
    t.strictSame(tidy(() => compare(recorded)), [], title);
  }
});

class Block extends nn.Module {
  readonly embedding = new nn.Embedding(5, 8);
  readonly attention = new nn.MultiheadAttention(8, 2, { isCausal: true });
  readonly norm = new nn.LayerNorm(8);
  readonly head = new nn.Linear(8, 5);

  forward(tokens: Tensor): Tensor {
    const embedded = this.embedding.forward(tokens);
    return this.head.forward(embedded.add(this.attention.forward(this.norm.forward(embedded))));
  }
}

class Net extends nn.Module {
  readonly features = new nn.Sequential(new nn.Conv2d(1, 3, 3, { padding: 1 }), new nn.BatchNorm2d(3), new nn.ReLU(), new nn.MaxPool2d(2), new nn.Flatten());
  readonly head = new nn.Linear(12, 5);

  forward(images: Tensor): Tensor {
    return this.head.forward(this.features.forward(images));
  }
}

for (const { name, make, input } of [
  { name: 'a transformer', make: () => new Block(), input: () => tensor([[1, 2, 3], [0, 4, 1]], { dtype: 'i64' }) },
  { name: 'a convolutional network', make: () => new Net(), input: () => rand([6, 1, 4, 4], { generator: new Generator(3) }) },
]) {
  t.test(`${name} trains as on the CPU, and its state goes there and back`, { skip }, async (t) => {
    const [host, device] = [make(), make().to('cuda')];
    device.loadStateDict(host.stateDict());
    const targets = tensor([0, 1, 2, 3, 4, 0], { dtype: 'i64' });
    const train = (model: nn.Module, where: 'cpu' | 'cuda'): number[] => {
      const optimizer = new optim.AdamW(model.parameters(), { learningRate: 0.01 });
      const [x, y] = [input().to(where), targets.to(where)];
      return [0, 1, 2].map(() => tidy(() => {
        optimizer.zeroGrad();
        const loss = crossEntropy(model.forward(x).reshape(6, 5), y);
        loss.backward();
        clipGradNorm(model.parameters(), 1);
        optimizer.step();
        return loss.item();
      }));
    };
    const losses = train(device, 'cuda');
    train(host, 'cpu').forEach((loss, step) => t.ok(Math.abs(loss - losses[step]!) < 1e-4, `the loss of step ${step} is ${losses[step]}, and the CPU's ${loss}`));
    const { tensors } = fromSafetensors(toSafetensors(device.stateDict()));
    for (const [key, value] of Object.entries(tensors)) t.strictSame(value.toArray(), device.stateDict()[key]!.toArray(), key);
    t.equal(device.to('cpu').parameters().every((parameter) => parameter.device.name === 'cpu'), true);
  });
}

t.test('optimizers, norms and the scaler of gradients work where the parameters are', { skip }, async (t) => {
  const run = (device: 'cpu' | 'cuda'): unknown => {
    const whole = nn.parameter(tensor([1, -2, 3], { device }));
    const half = nn.parameter(tensor([1, 2], { device, dtype: 'bf16' }));
    const optimizers = [new optim.SGD([whole], { learningRate: 0.125, momentum: 0.5, nesterov: true }), new optim.Adam([half], { learningRate: 0.125 })] as const;
    const scaler = new GradScaler({ initialScale: 4 });
    const steps = [1, Infinity, 2].map((value) => {
      whole.grad = tensor([value, 4, 8], { device });
      half.grad = tensor([4, -8], { device, dtype: 'bf16' });
      scaler.unscale(optimizers[0]);
      const stepped = optimizers.map((optimizer) => scaler.step(optimizer));
      scaler.update();
      return [stepped, gradNorm([whole, half]), whole.toArray(), half.toArray()];
    });
    const restored = new optim.SGD([whole], { learningRate: 0.125, momentum: 0.5 });
    restored.loadState(optimizers[0].state());
    return [steps, scaler.currentScale, Object.values(restored.state().tensors[0]!).map((each) => [each.device.name.slice(0, 4) === device, each.toArray()])];
  };
  t.strictSame(run('cuda'), run('cpu'));
});

t.test('random numbers are the CPU\'s', { skip }, async (t) => {
  const draw = (device: 'cpu' | 'cuda'): unknown => [rand([7], { device, generator: new Generator(1) }), dropout(ones([50], { device }), { generator: new Generator(2) })].map((each) => each.toArray());
  t.strictSame(draw('cuda'), draw('cpu'));
});

t.test('numbers and masks of the CPU go along; tensors of two devices do not', { skip }, async (t) => {
  const x = tensor([[1, 2], [3, 4]], { device: 'cuda', requiresGrad: true });
  x.mul(tensor(2)).add(1).clamp({ min: 4 }).abs().sum().backward();
  t.strictSame(x.grad!.toArray(), [[0, 2], [2, 2]]);
  t.strictSame(tril(x).toArray(), [[1, 0], [3, 4]]);
  t.strictSame(x.gt(2).to('cpu').toArray(), [[0, 0], [1, 1]]);
  t.equal(scaledDotProductAttention(x, x, x, { mask: ones([2, 2], { dtype: 'bool', device: 'cuda' }) }).device.name, 'cuda:0');
  const error = t.throws(() => x.add(ones([2, 2])), { code: 'TENSOR', message: /add cannot take .*: they are on cuda:0 and cpu, and must be on one device/ }) as unknown as Error;
  t.match(error.stack, /cuda\.test/);
  t.throws(() => x.detach().memory(), { code: 'TENSOR', message: /it is on cuda:0: take to\('cpu'\)/ });
  t.throws(() => x.detach().storage.memory, { code: 'TENSOR' });
  t.throws(() => ones([1], { device: 'cuda:7' }), { code: 'INVALID_ARGUMENT', message: /the device 'cuda:7'/ });
  t.throws(() => x.to('tpu' as 'cuda'), { code: 'TENSOR', message: /no dtype or device 'tpu'/ });
});

t.test('what a step gave back is used again, and what cannot be had is said', { skip }, async (t) => {
  const model = new nn.Linear(4, 3).to('cuda');
  const x = randn([5, 4], { device: 'cuda' });
  const made: number[] = [];
  useCudaLibrary({ ...library, allocate: (sizeBytes: number) => (made.push(sizeBytes), library.allocate(sizeBytes)) });
  const step = (): void => tidy(() => { zeros([8, 8], { device: 'cuda' }).add(1).exp().sum(); });
  step();
  const { length } = made;
  for (let again = 0; again < 5; again++) step();
  t.equal(made.length, length);
  useCudaLibrary({ ...library, allocate: () => { throw Object.assign(new Error('the device has no memory left'), { code: 'ENOMEM' }); } });
  t.throws(() => zeros([4], { device: 'cuda' }), { code: 'OUT_OF_MEMORY', message: /there is no memory for 16 bytes more: tensors on cuda:0 hold \d+ of \d+ bytes/ });
  useCudaLibrary(library);
  t.ok(model.forward(x).sum().item() < Infinity);
});
