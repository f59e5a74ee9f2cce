/** Steps of a GPT-2 on a GPU, in bf16, in turns with PyTorch's in eager mode: bench/peers/torch-gpt2.py has the same model. Where there is no GPU it says so, and measures nothing. */
import { openCuda } from '@muster/native/cuda';
import { arange, autocast, crossEntropy, linear, manualSeed, nn, optim, randint, tidy, type Tensor } from '@muster/tensor';
import { median, type BenchRecord } from './measure.js';
import { pythonProgram } from './native-program.js';
import { TorchSteps } from './torch-steps.js';

export interface Gpt2Shape {
  readonly title: string;
  readonly layers: number;
  readonly heads: number;
  readonly width: number;
  readonly tokens: number;
  /** Tokens of a text, and texts of a batch. */
  readonly places: number;
  readonly texts: number;
}

/** Radford et al., Language Models are Unsupervised Multitask Learners (2019); with the number of tokens a multiple of 64, as nanoGPT and llm.c have it. */
export const GPT2_124M: Gpt2Shape = { title: 'GPT-2 124M', layers: 12, heads: 12, width: 768, tokens: 50_304, places: 1024, texts: 4 };

const ROUNDS = 11;
const STEPS = 10;

class Block extends nn.Module {
  readonly firstNorm: nn.LayerNorm;
  readonly attention: nn.MultiheadAttention;
  readonly secondNorm: nn.LayerNorm;
  readonly up: nn.Linear;
  readonly down: nn.Linear;

  constructor({ width, heads }: Gpt2Shape) {
    super();
    this.firstNorm = new nn.LayerNorm(width);
    this.attention = new nn.MultiheadAttention(width, heads, { isCausal: true });
    this.secondNorm = new nn.LayerNorm(width);
    this.up = new nn.Linear(width, 4 * width);
    this.down = new nn.Linear(4 * width, width);
  }

  forward(x: Tensor): Tensor {
    const attended = x.add(this.attention.forward(this.firstNorm.forward(x)));
    return attended.add(this.down.forward(this.up.forward(this.secondNorm.forward(attended)).gelu()));
  }
}

/** Its output layer is its embedding. */
class Gpt2 extends nn.Module {
  readonly tokens: nn.Embedding;
  readonly places: nn.Embedding;
  readonly blocks: nn.Sequential;
  readonly norm: nn.LayerNorm;

  constructor(shape: Gpt2Shape) {
    super();
    this.tokens = new nn.Embedding(shape.tokens, shape.width);
    this.places = new nn.Embedding(shape.places, shape.width);
    this.blocks = new nn.Sequential(...Array.from({ length: shape.layers }, () => new Block(shape)));
    this.norm = new nn.LayerNorm(shape.width);
  }

  /** @param text [texts, places] */
  forward(text: Tensor): Tensor {
    const embedded = this.tokens.forward(text).add(this.places.forward(arange(0, text.shape[1]!, 1, { device: text.device.name })));
    return linear(this.norm.forward(this.blocks.forward(embedded)), this.tokens.weight);
  }
}

/** A function that makes some steps on the first GPU and returns milliseconds a step: the last loss is waited for. */
function stepper(shape: Gpt2Shape, steps: number): () => number {
  manualSeed(1);
  const model = new Gpt2(shape).to('cuda');
  const optimizer = new optim.AdamW(model.parameters(), { learningRate: 1e-4 });
  const [text, next] = [randint(0, shape.tokens, [shape.texts, shape.places]).to('cuda'), randint(0, shape.tokens, [shape.texts * shape.places]).to('cuda')];
  return () => {
    const startMs = performance.now();
    for (let step = 0; step < steps; step++) {
      optimizer.zeroGrad();
      tidy(() => autocast(() => crossEntropy(model.forward(text).reshape(-1, shape.tokens), next)).backward());
      optimizer.step();
    }
    tidy(() => model.norm.bias!.detach().sum().item()); // which comes after all steps
    return (performance.now() - startMs) / steps;
  };
}

export interface GpuBenchOptions {
  readonly report: (record: BenchRecord) => void;
  readonly note: (text: string) => void;
  readonly shape?: Gpt2Shape;
  readonly rounds?: number;
  readonly steps?: number;
}

export async function runGpuBench({ report, note, shape = GPT2_124M, rounds = ROUNDS, steps = STEPS }: GpuBenchOptions): Promise<void> {
  const cuda = openCuda();
  if (!cuda.available) return note(`${shape.title} is left out: not measured, no GPU: ${cuda.reason}.`);
  const what = `${shape.title}, bf16, batch ${shape.texts} x ${shape.places}, ${cuda.devices[0]!.name}`;
  const program = pythonProgram('torch-gpt2.py', 'PyTorch on the GPU', note);
  const { layers, heads, width, tokens, places, texts } = shape;
  const torch = program === null ? null : new TorchSteps(program.python, program.script, [layers, heads, width, tokens, places, texts].map(String));
  const title = await torch?.title();
  const own = stepper(shape, steps);
  const [ours, theirs]: [number[], number[]] = [[], []];
  for (let round = -1; round < rounds; round++) {
    const [ownMs, torchMs] = [own(), title ? await torch!.round(String(steps)) : NaN];
    if (round < 0) continue; // of warming up
    ours.push(ownMs);
    theirs.push(torchMs);
  }
  await torch?.end();
  const tokensPerSecond = (stepMs: number): number => (texts * places * 1000) / stepMs;
  report({ name: what, value: tokensPerSecond(median(ours)), unit: 'tokens/s', better: 'higher' });
  if (!title) return;
  report({ name: `${what}, ${title}`, value: tokensPerSecond(median(theirs)), unit: 'tokens/s', better: 'higher' });
  report({ name: `${shape.title}, bf16, on a GPU: tokens a second to PyTorch's`, value: median(theirs.map((ms, round) => ms / ours[round]!)), unit: 'ratio', better: 'higher' });
}
