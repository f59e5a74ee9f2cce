/** Optimizers, schedules, models and the scaler of gradients step by step as PyTorch recorded them. */
import t from 'tap';
import { autocast, clipGradNorm, clipGradsWithNorm, clipGradValue, crossEntropy, GradScaler, nn, optim, tensor, tidy, zeros, type Tensor } from './index.js';
import { difference, fixture, recordedTensor, type Recorded } from './test-support/recorded.js';

interface Training {
  readonly optimizers: readonly { readonly name: 'SGD' | 'Adam' | 'AdamW'; readonly options: object; readonly start: readonly Recorded[]; readonly steps: readonly OptimizerStep[] }[];
  readonly schedules: Readonly<Record<string, readonly number[]>>;
  readonly scaler: readonly { readonly options: object; readonly steps: readonly ScalerStep[] }[];
  readonly modules: readonly ModuleRun[];
  readonly twoOptimizers: readonly { readonly infinite: readonly [boolean, boolean]; readonly scale: number; readonly growthTracker: number; readonly parameters: readonly [Recorded, Recorded] }[];
  readonly clipping: { readonly gradients: readonly Recorded[]; readonly value: Clipped; readonly norm: Clipped };
}

interface Clipped {
  readonly total: number | null;
  readonly gradients: readonly Recorded[];
}

interface OptimizerStep {
  readonly gradients: readonly (Recorded | null)[];
  readonly parameters: readonly Recorded[];
}

interface ScalerStep {
  readonly infinite: boolean;
  readonly scale: number;
  readonly growthTracker: number;
  readonly parameter: Recorded;
}

interface ModuleRun {
  readonly name: 'block' | 'net';
  readonly lower: boolean;
  readonly inputs: Recorded;
  readonly targets: Recorded;
  readonly before: Readonly<Record<string, Recorded>>;
  readonly losses: readonly number[];
  readonly after: Readonly<Record<string, Recorded>>;
}

const TRAINING = fixture<Training>('training');

for (const { name, options, start, steps } of TRAINING.optimizers) {
  t.test(`${name} steps as PyTorch's with ${JSON.stringify(options)}`, async (t) => {
    const parameters = start.map((recorded) => nn.parameter(recordedTensor(recorded)));
    const optimizer = new optim[name](parameters, options);
    for (const [index, step] of steps.entries()) {
      parameters.forEach((parameter, each) => { parameter.grad = step.gradients[each] ? recordedTensor(step.gradients[each]!) : null; });
      optimizer.step();
      parameters.forEach((parameter, each) => t.equal(difference(parameter, step.parameters[each]!), null, `step ${index}, parameter ${each}`));
    }
  });
}

t.test('of two optimizers the one with an infinity is skipped, and the scale shrinks for both', async (t) => {
  const parameters = [nn.parameter(tensor([1, -2])), nn.parameter(tensor([0.5]))] as const;
  const optimizers = parameters.map((parameter) => new optim.SGD([parameter], { learningRate: 0.125 }));
  const scaler = new GradScaler({ initialScale: 256, growthInterval: 2 });
  for (const [index, step] of TRAINING.twoOptimizers.entries()) {
    for (const optimizer of optimizers) optimizer.zeroGrad();
    const [first, second] = parameters.map((parameter, each) => parameter.mul(step.infinite[each] ? Infinity : 0.5).sum()) as [Tensor, Tensor];
    scaler.scale(first.add(second)).backward();
    t.strictSame(optimizers.map((optimizer) => scaler.step(optimizer)), step.infinite.map((infinite) => !infinite), `step ${index}`);
    scaler.update();
    t.strictSame(scaler.state(), { scale: step.scale, growthTracker: step.growthTracker }, `the scale after step ${index}`);
    parameters.forEach((parameter, each) => t.equal(difference(parameter, step.parameters[each]!), null, `parameter ${each} after step ${index}`));
  }
});

t.test('gradients are clipped by the norm of a vector of which they are a part', async (t) => {
  const parameter = nn.parameter(tensor([0, 0]));
  const clipped = (gradient: number[], norm: number): unknown => {
    parameter.grad = tensor(gradient);
    clipGradsWithNorm([parameter], 1, norm);
    return parameter.grad.toArray();
  };
  t.strictSame(clipped([3, 4], 5 - 1e-6), [0.6000000238418579, 0.800000011920929]);
  t.strictSame(clipped([3, 4], 10 - 1e-6), [0.30000001192092896, 0.4000000059604645], 'the rest is elsewhere');
  t.strictSame(clipped([0.25, 0.5], 0.75), [0.25, 0.5], 'a short one stays');
});

t.test('an optimizer goes on from its state as if it had never stopped', async (t) => {
  const run = (stops: boolean): Tensor => {
    let parameter = nn.parameter(tensor([1, 2, 3]));
    let optimizer = new optim.AdamW([parameter], { learningRate: 0.1 });
    for (let step = 0; step < 6; step++) {
      if (stops && step === 3) {
        const state = optimizer.state();
        parameter = nn.parameter(parameter.detach().clone());
        optimizer = new optim.AdamW([parameter]);
        optimizer.loadState(state);
      }
      parameter.grad = tensor([step, -1, 0.5]);
      optimizer.step();
    }
    return parameter;
  };
  t.strictSame(run(true).toArray(), run(false).toArray());
});

t.test('parameters of 16 bits are the rounding of their masters', async (t) => {
  const half = nn.parameter(tensor([1, 1], { dtype: 'bf16' }));
  const whole = nn.parameter(tensor([1, 1]));
  const optimizers = [half, whole].map((parameter) => new optim.SGD([parameter], { learningRate: 2 ** -12 }));
  for (let step = 0; step < 32; step++) {
    half.grad = tensor([1, -1], { dtype: 'bf16' });
    whole.grad = tensor([1, -1]);
    for (const optimizer of optimizers) optimizer.step();
  }
  t.strictSame(half.toArray(), whole.to('bf16').toArray(), 'steps too small for 16 bits are not lost');
});

t.test('schedules go as PyTorch\'s', async (t) => {
  const schedules: Readonly<Record<string, optim.Schedule>> = {
    stepLR: optim.stepLR(3, 0.5), multiStepLR: optim.multiStepLR([2, 7], 0.5), exponentialLR: optim.exponentialLR(0.9),
    linearLR: optim.linearLR(5, { start: 0.25 }), cosineAnnealingLR: optim.cosineAnnealingLR(11), 'cosineAnnealingLR on and on': optim.cosineAnnealingLR(4, 0.1),
    constantLR: optim.constantLR(4, 0.5), polynomialLR: optim.polynomialLR(8, 2), cosineAnnealingWarmRestarts: optim.cosineAnnealingWarmRestarts(3, { multiplier: 2 }), oneCycleLR: optim.oneCycleLR(12),
    sequentialLR: optim.sequentialLR([optim.linearLR(4, { start: 0.25 }), optim.cosineAnnealingLR(8)], [4]),
  };
  for (const [name, rates] of Object.entries(TRAINING.schedules)) {
    const optimizer = new optim.SGD([nn.parameter(tensor([0]))], { learningRate: 0.5 });
    const scheduler = new optim.LRScheduler(optimizer, schedules[name]!);
    for (const [step, rate] of rates.entries()) {
      t.ok(Math.abs(optimizer.groups[0]!.options.learningRate - rate) < 1e-12, `${name} at step ${step}`);
      scheduler.step();
    }
  }
  t.strictSame([0, 9].map(optim.oneCycleLR(10, { rising: 0.1 })), [1, 1 / 25 / 1e4], 'a rise of one step is at the top at once');
});

t.test('gradients are clipped as PyTorch\'s, by value and by norm', async (t) => {
  const { gradients, value, norm } = TRAINING.clipping;
  const parameters = gradients.map(({ shape }) => nn.parameter(zeros(shape)));
  for (const [name, clip, wanted] of [['value', clipGradValue, value], ['norm', clipGradNorm, norm]] as const) {
    parameters.forEach((parameter, index) => { parameter.grad = recordedTensor(gradients[index]!); });
    const total = clip(parameters, name === 'value' ? 0.75 : 1.5);
    if (wanted.total !== null) t.ok(Math.abs(total! - wanted.total) < 1e-6 * wanted.total);
    parameters.forEach((parameter, index) => t.equal(difference(parameter.grad!, wanted.gradients[index]!), null, `${name} of gradient ${index}`));
  }
  t.throws(() => clipGradValue(parameters, -1), { code: 'INVALID_ARGUMENT' });
});

for (const { options, steps } of TRAINING.scaler) {
  t.test(`the scale goes as PyTorch's with ${JSON.stringify(options)}`, async (t) => {
    const parameter = nn.parameter(tensor([1, -2]));
    const optimizer = new optim.SGD([parameter], { learningRate: 0.125 });
    const scaler = new GradScaler(options);
    for (const [index, step] of steps.entries()) {
      optimizer.zeroGrad();
      scaler.scale(parameter.mul(tensor([step.infinite ? Infinity : 0.5, 1])).sum()).backward();
      if (index % 2 === 1) scaler.unscale(optimizer);
      t.equal(scaler.step(optimizer), !step.infinite);
      scaler.update();
      t.strictSame(scaler.state(), { scale: step.scale, growthTracker: step.growthTracker }, `step ${index}`);
      t.equal(difference(parameter, step.parameter), null, `the parameter after step ${index}`);
    }
    t.equal(scaler.skippedSteps, steps.filter(({ infinite }) => infinite).length);
  });
}

const WIDTH = 8;

class Block extends nn.Module {
  readonly tokenEmbedding = new nn.Embedding(7, WIDTH);
  readonly norm = new nn.LayerNorm(WIDTH);
  readonly attention = new nn.MultiheadAttention(WIDTH, 2, { isCausal: true });
  readonly hidden = new nn.Sequential(new nn.Linear(WIDTH, 2 * WIDTH), new nn.GELU(), new nn.Linear(2 * WIDTH, WIDTH));
  readonly head = new nn.Linear(WIDTH, 7);

  forward(tokens: Tensor): Tensor {
    const embedded = this.tokenEmbedding.forward(tokens);
    const attended = embedded.add(this.attention.forward(this.norm.forward(embedded)));
    return this.head.forward(attended.add(this.hidden.forward(this.norm.forward(attended))));
  }
}

class Net extends nn.Module {
  readonly features = new nn.Sequential(new nn.Conv2d(1, 4, 3, { padding: 1, bias: false }), new nn.BatchNorm2d(4), new nn.ReLU(), new nn.MaxPool2d(2), new nn.Conv2d(4, 4, 3), new nn.GroupNorm(2, 4),
    new nn.ReLU(), new nn.AvgPool2d(2));
  readonly head = new nn.Linear(4, 3);

  forward(images: Tensor): Tensor {
    return this.head.forward(this.features.forward(images).flatten(1));
  }
}

for (const run of TRAINING.modules) {
  t.test(`a ${run.name} trains as PyTorch's${run.lower ? ' under autocast' : ''}`, async (t) => {
    const model = run.name === 'block' ? new Block() : new Net();
    model.loadStateDict(Object.fromEntries(Object.entries(run.before).map(([name, recorded]) => [name, recordedTensor(recorded)])));
    const optimizer = new optim.AdamW(model.parameters(), { learningRate: 0.01 });
    const [inputs, targets] = [recordedTensor(run.inputs), recordedTensor(run.targets)];
    const tolerance = run.lower ? 2e-2 : 1e-5;
    for (const [step, wanted] of run.losses.entries()) {
      const loss = tidy(() => {
        optimizer.zeroGrad();
        const own = autocast(() => {
          const logits = model.forward(inputs);
          return crossEntropy(logits.flatten(0, -2), targets.flatten());
        }, { enabled: run.lower });
        own.backward();
        optimizer.step();
        return own.item();
      });
      t.ok(Math.abs(loss - wanted) < tolerance * (1 + wanted), `the loss of step ${step} is ${loss}, and PyTorch's ${wanted}`);
    }
    // A gradient of about 0 has any sign, and Adam's first steps are as long as the learning rate: the state is compared in f32 alone.
    if (run.lower) return;
    const after = model.stateDict();
    // No share of attention depends on the keys' bias, the second third of this: what Adam makes of its gradient is made of rounding.
    const keys = [WIDTH, 2 * WIDTH] as const;
    (after['attention.in_proj_bias']?.memory() as Float32Array | undefined)?.set(run.after['attention.in_proj_bias']!.data.slice(...keys) as number[], keys[0]);
    for (const [name, recorded] of Object.entries(run.after)) t.equal(difference(after[name]!, recorded, ['f16']), null, name);
  });
}
