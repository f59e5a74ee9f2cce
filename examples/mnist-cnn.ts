/** The convolutional network of the examples on MNIST, what it goes down, and how good it is. */
import { crossEntropy, nn, noGrad, tensor, tidy, type Tensor } from '@muster/tensor';
import type { DataLoader } from '@muster/train';
import { CLASSES, PIXELS } from './mnist.js';

const SIDE = Math.sqrt(PIXELS);

/** Columns of a dataset: images, and which digits they are. */
export type Digits = { readonly pixels: Uint8Array; readonly labels: Uint8Array };

export class DigitNet extends nn.Module {
  readonly features = new nn.Sequential(
    new nn.Conv2d(1, 16, 3, { padding: 1 }), new nn.ReLU(), new nn.MaxPool2d(2),
    new nn.Conv2d(16, 32, 3, { padding: 1 }), new nn.ReLU(), new nn.MaxPool2d(2),
  );
  readonly classifier: nn.Sequential;

  constructor({ dropout = 0.25 } = {}) {
    super();
    this.classifier = new nn.Sequential(new nn.Flatten(), new nn.Linear(32 * (SIDE / 4) ** 2, 128), new nn.ReLU(), new nn.Dropout(dropout), new nn.Linear(128, CLASSES));
  }

  forward(images: Tensor): Tensor {
    return this.classifier.forward(this.features.forward(images));
  }
}

/** Bytes from 0 (paper) to 255 (ink) as numbers from 0 to 1, [images, 1, side, side]. */
const imagesOf = (pixels: Uint8Array): Tensor => tensor(pixels, { dtype: 'f32' }).div(255).reshape(-1, 1, SIDE, SIDE);

export const lossOf = (model: nn.Module, { pixels, labels }: Digits): Tensor => crossEntropy(model.forward(imagesOf(pixels)), tensor(labels, { dtype: 'i64' }));

/** The share of a loader's first epoch that the model gets right. */
export async function accuracyOf(model: nn.Module, loader: DataLoader<Digits>): Promise<number> {
  model.eval();
  let right = 0;
  for await (const { columns: { pixels, labels }, step } of loader.batches(0)) {
    const found = noGrad(() => tidy(() => model.forward(imagesOf(pixels)).argmax(1).toArray())) as number[];
    right += found.filter((digit, image) => digit === labels[image]).length;
    if (step + 1 === loader.stepsPerEpoch) break;
  }
  model.train();
  return right / (loader.stepsPerEpoch * loader.batchSize);
}
