/**
 * Times a training step of examples/train-mnist.ts's network beside PyTorch's: forward, backward and AdamW, in rounds in which both take turns.
 *
 *     node bench/cnn.mjs [--images 128] [--rounds 40] [--python bench/peers/.venv/bin/python] [--profile]
 *
 * Prints medians, and the median of the rounds' ratios: PyTorch's time to Muster's, which is to be 0.8 at least. --profile adds what each of the device's calls took in Muster's steps.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { crossEntropy, nn, optim, ones, rand, randint, setThreads, tidy } from '@muster/tensor';

const THREADS = 2;
const { values: options } = parseArgs({
  options: { images: { type: 'string', default: '128' }, rounds: { type: 'string', default: '40' }, python: { type: 'string', default: 'bench/peers/.venv/bin/python' }, profile: { type: 'boolean', default: false } },
});
const [images, rounds] = [Number(options.images), Number(options.rounds)];

const model = new nn.Sequential(
  new nn.Conv2d(1, 16, 3, { padding: 1 }), new nn.ReLU(), new nn.MaxPool2d(2), new nn.Conv2d(16, 32, 3, { padding: 1 }), new nn.ReLU(), new nn.MaxPool2d(2),
  new nn.Flatten(), new nn.Linear(32 * 49, 128), new nn.ReLU(), new nn.Dropout(0.25), new nn.Linear(128, 10));
const optimizer = new optim.AdamW(model.parameters(), { learningRate: 2e-3 });
const [pixels, labels] = [rand([images, 1, 28, 28]), randint(0, 10, [images])];
setThreads(THREADS);

/** @returns the seconds that it took */
function step() {
  const start = performance.now();
  tidy(() => {
    optimizer.zeroGrad();
    crossEntropy(model.forward(pixels), labels).backward();
    optimizer.step();
  });
  return (performance.now() - start) / 1000;
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/** Milliseconds of each of the device's calls, over `steps`. */
function profile(steps) {
  const { device } = ones([1]);
  const spent = new Map();
  for (const [name, call] of Object.entries(device).filter(([, value]) => typeof value === 'function')) {
    device[name] = (...parameters) => {
      const start = performance.now();
      try {
        return call(...parameters);
      } finally {
        spent.set(name, (spent.get(name) ?? 0) + performance.now() - start);
      }
    };
  }
  for (let each = 0; each < steps; each++) step();
  for (const [name, total] of [...spent].sort(([, a], [, b]) => b - a)) console.log(`  ${name.padEnd(24)} ${(total / steps).toFixed(3)} ms`);
}

const peer = spawn(options.python, [fileURLToPath(new URL('peers/torch-cnn.py', import.meta.url))], { stdio: ['pipe', 'pipe', 'inherit'] });
const lines = createInterface({ input: peer.stdout })[Symbol.asyncIterator]();
const ask = async () => {
  peer.stdin.write(`${images} ${THREADS}\n`);
  return Number((await lines.next()).value);
};
const name = (await lines.next()).value;
const [own, other] = [[], []];
for (let round = -5; round < rounds; round++) {  // the first are not counted
  const seconds = [step(), await ask()];
  if (round < 0) continue;
  own.push(seconds[0]);
  other.push(seconds[1]);
}
console.log(`a step of ${images} images, ${THREADS} threads: Muster ${(median(own) * 1e3).toFixed(2)} ms, ${name} ${(median(other) * 1e3).toFixed(2)} ms; PyTorch's time to Muster's ${median(own.map((value, round) => other[round] / value)).toFixed(3)}`);
if (options.profile) profile(rounds);
peer.stdin.end();
await once(peer, 'close');
