/** Random numbers that are the same for the same seed, wherever and with however many threads they are made. */
import { cpu } from './device/cpu.js';
import type { Device } from './device/device.js';
import { invalid } from './failure.js';
import type { Shape } from './shape.js';
import { empty, type Tensor } from './tensor.js';
import type { Dtype } from './dtype.js';

/** A seed has 53 bits of the 64 of Philox's key; the number of a stream has the others. */
const STREAMS = 2 ** 11;

/**
 * A sequence of random numbers: Philox 4x32-10, a function of the seed and of how far the sequence is. Its state is those two numbers.
 * @example const generator = new Generator(42);
 */
export class Generator {
  readonly #seed: readonly [number, number];
  /** How many counters were used, each of which makes 4 numbers. Setting it goes on from there. */
  position = 0;
  #stream = 0;

  /** @param seed a whole number from 0 to 2^53 - 1 */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) throw invalid(`a seed of ${seed}`, 'a whole number from 0 to 2^53 - 1');
    this.#seed = [seed % 2 ** 32, Math.floor(seed / 2 ** 32)];
  }

  /** Evenly from [low, high). */
  uniform(shape: Shape, { low = 0, high = 1, dtype = 'f32' as Dtype } = {}): Tensor {
    return this.fill(empty(shape, dtype), 'uniform', low, high);
  }

  /** Of the normal distribution. */
  normal(shape: Shape, { mean = 0, deviation = 1, dtype = 'f32' as Dtype } = {}): Tensor {
    return this.fill(empty(shape, dtype), 'normal', mean, deviation);
  }

  /** Whole numbers from [low, high), i64. */
  integers(shape: Shape, low: number, high: number): Tensor {
    const range = high - low;
    if (!Number.isSafeInteger(low) || !Number.isSafeInteger(high) || range < 1 || range > 2 ** 32) throw invalid(`whole numbers from ${low} to ${high}`, 'from a range of 1 to 2^32');
    const result = empty(shape, 'i64');
    const numbers = result.storage.memory as BigInt64Array;
    this.#words(result.size).forEach((word, index) => { numbers[index] = BigInt(low + Math.floor((word / 2 ** 32) * range)); });
    return result;
  }

  /** The numbers from 0 to `count` - 1 in random order. Source: Fisher and Yates. */
  permutation(count: number): Int32Array {
    const order = Int32Array.from({ length: count }, (_, index) => index);
    const words = this.#words(count);
    for (let last = count - 1; last > 0; last--) {
      const other = Math.floor((words[last]! / 2 ** 32) * (last + 1));
      [order[last], order[other]] = [order[other]!, order[last]!];
    }
    return order;
  }

  /** Fills a dense tensor: from [first, second), with mean and deviation, or with `second` at the probability `first`, else 0. @returns it */
  fill(result: Tensor, kind: 'uniform' | 'normal' | 'bernoulli', first: number, second: number, device: Device = cpu): Tensor {
    device.random(result, { kind, seed: this.#key, counter: this.position, first, second });
    this.position += Math.ceil(result.size / 4);
    return result;
  }

  /** Whose numbers are drawn: see {@link inStream}. */
  get stream(): number {
    return this.#stream;
  }

  /**
   * Runs `body` with the numbers of another stream, `further` from that of the code around it, which begins with 0. How far the sequence is counts on in all of
   * them alike, so that ranks which draw as much, here equal and there different numbers, stay together. There are 2,048 streams.
   */
  inStream<T>(further: number, body: () => T): T {
    const before = this.#stream;
    const stream = before + further;
    if (!Number.isInteger(stream) || stream < 0 || stream >= STREAMS) throw invalid(`the stream ${stream} of random numbers`, `from 0 to ${STREAMS - 1}`);
    this.#stream = stream;
    try {
      return body();
    } finally {
      this.#stream = before;
    }
  }

  get #key(): readonly [number, number] {
    return [this.#seed[0], this.#seed[1] + (this.#stream * 2 ** 32) / STREAMS];
  }

  #words(count: number): Uint32Array {
    const bits = empty([count], 'i32');
    cpu.random(bits, { kind: 'bits', seed: this.#key, counter: this.position, first: 0, second: 0 });
    this.position += Math.ceil(count / 4);
    const words = new Uint32Array(bits.memory() as Int32Array);
    bits.dispose();
    return words;
  }
}

/** What is used where no generator is named. */
export let defaultGenerator = new Generator(0);

/** Where the default sequence is, to go back there with {@link fromState}. */
export interface RandomState {
  readonly generator: Generator;
  readonly position: number;
  readonly stream: number;
}

export function randomState(): RandomState {
  const { position, stream } = defaultGenerator;
  return { generator: defaultGenerator, position, stream };
}

/** Runs `body` with the default sequence as it was then, and goes on where it is now. */
export function fromState<T>({ generator, position, stream }: RandomState, body: () => T): T {
  const [now, was] = [defaultGenerator, generator.position];
  defaultGenerator = generator;
  generator.position = position;
  try {
    return generator.inStream(stream - generator.stream, body);
  } finally {
    generator.position = was;
    defaultGenerator = now;
  }
}

/** Begins the default sequence of random numbers, as `torch.manual_seed`. Before it is called the seed is 0. */
export function manualSeed(seed: number): Generator {
  defaultGenerator = new Generator(seed);
  return defaultGenerator;
}
