/** What `cluster bench train` steps: an MLP and a convolutional network on images of MNIST's size, and a GPT on characters. bench/peers/torch-train.py has the same. */
import { arange, crossEntropy, nn, randint, randn, type Tensor } from '@muster/tensor';

export const MODEL_NAMES = ['mlp', 'cnn', 'gpt'] as const;
export type ModelName = (typeof MODEL_NAMES)[number];

/** A model and its batch. */
export interface Workload {
  readonly title: string;
  /** That one step takes. */
  readonly examples: number;
  make(): nn.Module;
  /** Of one step: the same numbers again and again. */
  batch(): readonly [inputs: Tensor, targets: Tensor];
}

const CLASSES = 10;
const IMAGES = 128;
const SIDE = 28;
const PLACES = 128;
const TEXTS = 16;
const WIDTH = 128;
const HEADS = 4;
const LAYERS = 4;
/** Of Latin text. */
const CHARACTERS = 96;

class Block extends nn.Module {
  readonly firstNorm = new nn.LayerNorm(WIDTH);
  readonly attention = new nn.MultiheadAttention(WIDTH, HEADS, { isCausal: true });
  readonly secondNorm = new nn.LayerNorm(WIDTH);
  readonly up = new nn.Linear(WIDTH, 4 * WIDTH);
  readonly down = new nn.Linear(4 * WIDTH, WIDTH);

  forward(x: Tensor): Tensor {
    const attended = x.add(this.attention.forward(this.firstNorm.forward(x)));
    return attended.add(this.down.forward(this.up.forward(this.secondNorm.forward(attended)).gelu()));
  }
}

class Gpt extends nn.Module {
  readonly characters = new nn.Embedding(CHARACTERS, WIDTH);
  readonly places = new nn.Embedding(PLACES, WIDTH);
  readonly blocks = new nn.Sequential(...Array.from({ length: LAYERS }, () => new Block()));
  readonly norm = new nn.LayerNorm(WIDTH);
  readonly head = new nn.Linear(WIDTH, CHARACTERS);

  forward(text: Tensor): Tensor {
    const embedded = this.characters.forward(text).add(this.places.forward(arange(PLACES)));
    return this.head.forward(this.norm.forward(this.blocks.forward(embedded))).reshape(-1, CHARACTERS);
  }
}

export const WORKLOADS: Readonly<Record<ModelName, Workload>> = {
  mlp: {
    title: 'MLP 784-256-128-10, batch 128', examples: IMAGES,
    make: () => new nn.Sequential(new nn.Linear(SIDE * SIDE, 256), new nn.ReLU(), new nn.Linear(256, 128), new nn.ReLU(), new nn.Linear(128, CLASSES)),
    batch: () => [randn([IMAGES, SIDE * SIDE]), randint(0, CLASSES, [IMAGES])],
  },
  cnn: {
    title: 'CNN 16-32-128-10 of 3 x 3, batch 128', examples: IMAGES,
    make: () => new nn.Sequential(
      new nn.Conv2d(1, 16, 3, { padding: 1 }), new nn.ReLU(), new nn.MaxPool2d(2), new nn.Conv2d(16, 32, 3, { padding: 1 }), new nn.ReLU(), new nn.MaxPool2d(2),
      new nn.Flatten(), new nn.Linear(32 * (SIDE / 4) ** 2, 128), new nn.ReLU(), new nn.Linear(128, CLASSES)),
    batch: () => [randn([IMAGES, 1, SIDE, SIDE]), randint(0, CLASSES, [IMAGES])],
  },
  gpt: {
    title: `GPT of ${LAYERS} layers, ${WIDTH} wide, batch ${TEXTS} x ${PLACES}`, examples: TEXTS,
    make: () => new Gpt(),
    batch: () => [randint(0, CHARACTERS, [TEXTS, PLACES]), randint(0, CHARACTERS, [TEXTS * PLACES])],
  },
};

/** The loss that a step goes down. */
export const lossOf = (model: nn.Module, [inputs, targets]: readonly [Tensor, Tensor]): Tensor => crossEntropy(model.forward(inputs), targets);
