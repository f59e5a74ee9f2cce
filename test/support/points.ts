/** A small set of examples for trainings in tests, and what tests ask of models that learn it. */
import { crossEntropy, nn, tensor, type DeviceName, type Tensor } from '@muster/tensor';
import { dataset, type Dataset } from '@muster/train';

export const FEATURES = 6;
export const CLASSES = 3;

export type Points = { readonly x: Float32Array; readonly y: Uint8Array };

/** Points whose class follows from a plane or two. */
export function pointsDataset(count = 96): Promise<Dataset<Points>> {
  const x = Float32Array.from({ length: count * FEATURES }, (_, index) => Math.sin(index * 12.9898) * 1.5);
  const y = Uint8Array.from({ length: count }, (_, row) => (x[row * FEATURES]! > 0 ? 1 : 0) + (x[row * FEATURES + 1]! + x[row * FEATURES + 2]! > 0.5 ? 1 : 0));
  return dataset({ x, y }, count);
}

/** A model that can learn them. */
export class PointsNet extends nn.Module {
  readonly hidden = new nn.Linear(FEATURES, 16);
  readonly output = new nn.Linear(16, CLASSES);

  forward(x: Tensor): Tensor {
    return this.output.forward(this.hidden.forward(x).relu());
  }
}

export const lossOf = (model: nn.Module, { x, y }: Points, dtype: 'f32' | 'bf16' = 'f32', device: DeviceName = 'cpu'): Tensor =>
  crossEntropy(model.forward(tensor(x, { dtype, device }).reshape(-1, FEATURES)), tensor(BigInt64Array.from(y, BigInt), { device }));
