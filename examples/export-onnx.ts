/**
 * A network that was trained here answers in ONNX Runtime: the same digits, and nearly the same numbers.
 *
 * Shows: a convolutional network trained in this process, without a cluster; exportOnnx() with a batch of any size; the file run by another engine, image by
 * image compared with the model that it was made of.
 *
 *     node --import tsx examples/export-onnx.ts [--images 12800] [--file digits.onnx]
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { crossEntropy, exportOnnx, Generator, manualSeed, nn, noGrad, optim, tensor, tidy, zeros, type Tensor } from '@muster/tensor';
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { CLASSES, percent, PIXELS, readDigits, TEST } from './mnist.js';

const SIDE = Math.sqrt(PIXELS);
const BATCH = 64;
/** Test images that are looked at together: batches of another size than the example's, the last one smaller than the others. */
const TEST_BATCH = 768;

const { values: flags } = parseArgs({ options: { images: { type: 'string', default: '12800' }, file: { type: 'string' } } });
const images = Number(flags.images);
if (!Number.isInteger(images) || images < BATCH || images > TEST.first) {
  console.error(`usage: export-onnx [--images N] [--file FILE], with ${BATCH} to ${TEST.first} images`);
  process.exit(1);
}

const { pixels, labels } = readDigits();

/** Some of the images, bytes as numbers from 0 to 1, [images, 1, side, side]. */
function imagesAt(rows: ArrayLike<number>): Tensor {
  const bytes = new Uint8Array(rows.length * PIXELS);
  for (let row = 0; row < rows.length; row++) bytes.set(pixels.subarray(rows[row]! * PIXELS, (rows[row]! + 1) * PIXELS), row * PIXELS);
  return tensor(bytes, { dtype: 'f32' }).div(255).reshape(-1, 1, SIDE, SIDE);
}

manualSeed(1);
const model = new nn.Sequential(
  new nn.Conv2d(1, 16, 3, { padding: 1 }), new nn.ReLU(), new nn.MaxPool2d(2),
  new nn.Conv2d(16, 32, 3, { padding: 1, bias: false }), new nn.BatchNorm2d(32), new nn.ReLU(), new nn.AvgPool2d(2),
  new nn.Flatten(), new nn.Dropout(0.25), new nn.Linear(32 * (SIDE / 4) ** 2, CLASSES),
);
const optimizer = new optim.AdamW(model.parameters(), { learningRate: 2e-3 });
const order = new Generator(1).permutation(images);
for (let first = 0; first + BATCH <= images; first += BATCH) {
  const rows = order.subarray(first, first + BATCH);
  tidy(() => {
    optimizer.zeroGrad();
    crossEntropy(model.forward(imagesAt(rows)), tensor(Int32Array.from(rows, (row) => labels[row]!))).backward();
    optimizer.step();
  });
}

const bytes = exportOnnx(model, [zeros([1, 1, SIDE, SIDE])], { inputNames: ['images'], outputNames: ['logits'], dynamicAxes: { images: { 0: 'batch' } } });
if (flags.file !== undefined) await writeFile(flags.file, bytes);

model.eval();
const session = await InferenceSession.create(bytes);
const right = { onnx: 0, model: 0 };
let furthest = 0;
for (let first = TEST.first; first < TEST.end; first += TEST_BATCH) {
  const rows = Int32Array.from({ length: Math.min(TEST_BATCH, TEST.end - first) }, (_, row) => first + row);
  const batch = imagesAt(rows);
  const { logits } = await session.run({ images: new OrtTensor('float32', batch.toTypedArray() as Float32Array, batch.shape) });
  tidy(() => noGrad(() => {
    const [theirs, own] = [tensor(logits!.data as Float32Array, { shape: logits!.dims }), model.forward(batch)];
    const wanted = tensor(Int32Array.from(rows, (row) => labels[row]!));
    right.onnx += theirs.argmax(1).eq(wanted).sum().item();
    right.model += own.argmax(1).eq(wanted).sum().item();
    furthest = Math.max(furthest, theirs.sub(own).abs().amax().item());
  }));
  batch.dispose();
}
await session.release();
const count = TEST.end - TEST.first;
console.log(`${bytes.length} bytes of ONNX: test accuracy ${percent(right.onnx / count)} in ONNX Runtime, ${percent(right.model / count)} here; logits at most ${furthest.toExponential(1)} apart`);
