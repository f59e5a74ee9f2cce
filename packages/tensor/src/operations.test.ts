/** Every operation and its gradient against what PyTorch computed, and every gradient against differences of the operation itself. */
import t from 'tap';
import { Generator, noGrad, tidy, zeros, type Tensor } from './index.js';
import { CALLS, type Options } from './test-support/calls.js';
import { difference, fixture, recordedTensor, type Recorded } from './test-support/recorded.js';

interface Case {
  readonly call: string;
  readonly options: Options;
  readonly inputs: readonly Recorded[];
  readonly result: Recorded;
  readonly gradient?: Recorded;
  readonly gradients?: readonly (Recorded | null)[];
}

const CASES = fixture<readonly Case[]>('operations');
const CORNERS = fixture<readonly Case[]>('corners');

/** The recorded inputs, each of which requires a gradient where PyTorch's has one. */
function inputsOf({ inputs, gradients }: Case): Tensor[] {
  return inputs.map((input, index) => {
    const leaf = recordedTensor(input);
    if (gradients?.[index]) leaf.requiresGrad = true;
    return leaf;
  });
}

function compare(recorded: Case): string[] {
  const inputs = inputsOf(recorded);
  const result = CALLS[recorded.call]!(inputs, recorded.options);
  const differences = [difference(result, recorded.result)];
  if (recorded.gradient !== undefined) {
    result.backward(recordedTensor(recorded.gradient));
    recorded.gradients!.forEach((gradient, index) => {
      if (gradient === null) return;
      const { grad } = inputs[index]!;
      const found = grad === null ? 'there is none' : difference(grad, gradient, recorded.inputs.map(({ dtype }) => dtype));
      differences.push(found === null ? null : `the gradient of input ${index}: ${found}`);
    });
  }
  return differences.filter((each) => each !== null);
}

for (const call of Object.keys(CALLS)) {
  t.test(`${call} and its gradient are PyTorch's`, async (t) => {
    const cases = CASES.filter((each) => each.call === call);
    t.ok(cases.length > 0, 'it was recorded');
    for (const recorded of cases) {
      const title = `${recorded.inputs.map(({ dtype, shape }) => `${dtype}[${shape.join()}]`).join(' and ')} ${JSON.stringify(recorded.options)}`;
      t.strictSame(tidy(() => compare(recorded)), [], title);
    }
  });
}

t.test('tensors of nothing, without dimensions, and of numbers where their dtype or a slope ends, are what they are in PyTorch', async (t) => {
  for (const recorded of CORNERS) {
    const title = `${recorded.call} of ${recorded.inputs.map(({ dtype, shape }) => `${dtype}[${shape.join()}]`).join(' and ')} ${JSON.stringify(recorded.options)}`;
    t.strictSame(tidy(() => compare(recorded)), [], title);
  }
  t.strictSame(zeros([0, 3]).chunk(4).map(({ shape }) => shape), Array(4).fill([0, 3]), 'nothing in parts');
});

/** Steps of the difference quotient. f32 carries seven digits: a step that is too short drowns in their rounding. */
const STEP = 2 ** -7;

/** Where a slope jumps, or there is none, or it is left out, a difference says nothing. */
const HAS_JUMPS = new Set(['abs', 'relu', 'leakyRelu', 'maximum', 'minimum', 'clamp', 'amax', 'amin', 'maxPool2d', 'l1Loss', 'huberLoss', 'smoothL1Loss', 'to', 'elu', 'selu', 'hardtanh', 'relu6', 'hardsigmoid', 'hardswish', 'prelu', 'binaryCrossEntropyEdge',
  'embeddingPadding', 'topk']);

/** The sum of the result's products with fixed numbers: one number of which every input has a gradient. */
function weighed(recorded: Case, inputs: readonly Tensor[], weights: Tensor): Tensor {
  return CALLS[recorded.call]!(inputs, recorded.options).mul(weights).sum();
}

t.test('gradients are what differences say, along random directions', async (t) => {
  const generator = new Generator(7);
  const smooth = CASES.filter(({ call, gradient, inputs }) => gradient !== undefined && !HAS_JUMPS.has(call) && inputs.every(({ dtype }) => !['f16', 'bf16'].includes(dtype)));
  t.ok(smooth.length > 50);
  for (const recorded of smooth) {
    tidy(() => {
      const inputs = inputsOf(recorded);
      const weights = recordedTensor(recorded.gradient!);
      weighed(recorded, inputs, weights).backward();
      const directions = inputs.map((input) => (input.requiresGrad ? generator.uniform(input.shape, { low: -1 }) : null));
      const along = inputs.reduce((total, input, index) => total + (directions[index] === null ? 0 : input.grad!.mul(directions[index]!).sum().item()), 0);
      const moved = (step: number): number => noGrad(() => weighed(recorded, inputs.map((input, index) => (directions[index] === null ? input : input.add(directions[index]!.mul(step)))), weights).item());
      // Richardson's extrapolation: what is left is of the fourth order in the step.
      const quotient = (step: number): number => (moved(step) - moved(-step)) / (2 * step);
      const slope = (4 * quotient(STEP / 2) - quotient(STEP)) / 3;
      const isClose = Math.abs(slope - along) <= 4e-3 * (1 + Math.abs(along)) + 1e-4 * recorded.result.data.length;
      t.ok(isClose, `${recorded.call} of ${recorded.inputs.map(({ shape }) => `[${shape.join()}]`).join(' and ')}: ${along} and ${slope}`);
    });
  }
});
