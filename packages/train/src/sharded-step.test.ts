/** What reducers of gradients hold, and refuse, while a backward pass is under way. */
import { createCommunicator } from '@muster/collective';
import { allocator, checkpoint, nn, ones, optim, tidy } from '@muster/tensor';
import t from 'tap';
import { GradientAverager } from './gradient-reducer.js';
import { ShardedStep } from './sharded-step.js';

const WIDTH = 256;
const LAYERS = 8;
const LAYER_BYTES = WIDTH * WIDTH * 4;

t.test('gradients are let go of while the backward pass goes on', async (t) => {
  using communicator = await createCommunicator({ id: `zero-${process.pid}`, rank: 0, size: 1 });
  const model = new nn.Sequential(...Array.from({ length: LAYERS }, () => new nn.Linear(WIDTH, WIDTH, { bias: false })));
  const optimizer = new optim.SGD(model.parameters(), { learningRate: 0.1 });
  using step = new ShardedStep(2, model.namedParameters(), optimizer, communicator, { sizes: { firstBytes: 1, bytes: 1 } });
  const { usedBytes } = allocator.statistics();
  for (const isFirst of [true, false]) {
    step.beginBatch({ isFirst, isLast: !isFirst });
    allocator.resetPeak();
    tidy(() => model.forward(ones([1, WIDTH])).sum().backward());
    const arrays = (allocator.statistics().peakBytes - usedBytes) / LAYER_BYTES;
    t.ok(arrays > 1 && arrays < 4, `at most the array that is reduced, the one that fills, and the gradient on its way there: ${arrays} of ${LAYERS}`);
    await step.endBatch();
    t.equal(allocator.statistics().usedBytes, usedBytes, 'after it the shard alone is left');
  }
  t.ok(optimizer.parameters.every(({ grad }) => grad !== null));
  t.throws(() => { optimizer.step(); optimizer.replaceParameters((parameter) => parameter); }, { code: 'INVALID_ARGUMENT', message: /has stepped/ });
});

t.test('a gradient that grows after it was reduced is refused, and not lost', async (t) => {
  using communicator = await createCommunicator({ id: `grows-${process.pid}`, rank: 0, size: 1 });
  const layer = new nn.Linear(4, 4);
  using reducer = new GradientAverager(layer.namedParameters(), communicator);
  const input = nn.parameter(ones([2, 4]));
  const segment = (x: typeof input): typeof input => checkpoint((each) => layer.forward(each), x);
  reducer.beginBatch({ isFirst: true, isLast: true });
  tidy(() => segment(input).sum().backward());
  await reducer.endBatch();
  t.throws(() => tidy(() => segment(segment(input)).sum().backward()), { code: 'INVALID_ARGUMENT', message: /the parameter (weight|bias), whose gradient grew after it had been reduced/ });
});
