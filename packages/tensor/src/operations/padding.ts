/** Margins around a tensor. */
import { autocastInputs } from '../amp/policy.js';
import { full, tensor } from '../factories.js';
import { promoteWithNumber } from '../dtype.js';
import { invalid, tensorError } from '../failure.js';
import type { Tensor } from '../tensor.js';
import { cat, indexSelect } from './indexing.js';

/** What a margin holds: one number; what lies behind the border as in a mirror, or the border's own number; or what lies at the other end. */
export type PaddingMode = 'constant' | 'reflect' | 'replicate' | 'circular';

export interface PadOptions {
  /** 'constant' unless told otherwise. */
  readonly mode?: PaddingMode;
  /** What a constant margin holds; 0 unless told otherwise. */
  readonly value?: number;
}

/** Which number of a side of `extent` stands at a place, counted from the side's first; the places before are negative. */
const PLACES: Readonly<Record<Exclude<PaddingMode, 'constant'>, (place: number, extent: number) => number>> = {
  reflect: (place, extent) => (place < 0 ? -place : place < extent ? place : 2 * (extent - 1) - place),
  replicate: (place, extent) => Math.min(extent - 1, Math.max(0, place)),
  circular: (place, extent) => (place + extent) % extent,
};

interface Margin {
  readonly dimension: number;
  readonly before: number;
  readonly after: number;
}

function constantMargin(input: Tensor, { dimension, before, after }: Margin, value: number): Tensor {
  const margin = (length: number): Tensor[] =>
    (length === 0 ? [] : [full(input.shape.map((extent, each) => (each === dimension ? length : extent)), value, { dtype: input.dtype, device: input.device.name })]);
  return cat([...margin(before), input, ...margin(after)], dimension);
}

function copiedMargin(input: Tensor, { dimension, before, after }: Margin, mode: Exclude<PaddingMode, 'constant'>): Tensor {
  const extent = input.shape[dimension]!;
  const most = { reflect: extent - 1, replicate: extent === 0 ? 0 : Infinity, circular: extent }[mode];
  if (Math.max(before, after) > most) throw tensorError('pad', [input, `margins of ${before} and ${after}`], `margins of mode '${mode}' along ${extent} numbers are at most ${most}`);
  const places = Int32Array.from({ length: before + extent + after }, (_, place) => PLACES[mode](place - before, extent));
  return indexSelect(input, dimension, tensor(places, { device: input.device.name }));
}

/**
 * A larger tensor, as torch.nn.functional.pad, without its negative margins.
 * @param margins before and after the last dimension, then before and after the one in front of it, and so on
 * @example pad(images, [1, 1, 2, 2])   // [8, 3, 28, 28] becomes [8, 3, 32, 30]
 */
export function pad(input: Tensor, margins: readonly number[], { mode = 'constant', value = 0 }: PadOptions = {}): Tensor {
  const isValid = margins.length % 2 === 0 && margins.length <= 2 * input.rank && margins.every((margin) => Number.isSafeInteger(margin) && margin >= 0);
  if (!isValid) throw tensorError('pad', [input, `[${margins.join(', ')}]`], `the margins are two whole numbers from 0 on for each of ${input.rank} dimensions at most, the last first`);
  if (mode !== 'constant' && !Object.hasOwn(PLACES, mode)) throw invalid(`a padding mode '${String(mode)}'`, `'constant', '${Object.keys(PLACES).join("', '")}'`);
  if (promoteWithNumber(input.dtype, value) !== input.dtype && input.dtype !== 'bool') throw tensorError('pad', [input, String(value)], 'a number with a fraction has no place among integers: convert with to()');
  let [padded] = (mode === 'reflect' || mode === 'replicate' ? autocastInputs('f32', [input]) : [input]) as readonly [Tensor];  // as in PyTorch
  for (let index = 0; index < margins.length; index += 2) {
    const margin = { dimension: input.rank - 1 - index / 2, before: margins[index]!, after: margins[index + 1]! };
    if (margin.before + margin.after > 0) padded = mode === 'constant' ? constantMargin(padded, margin, value) : copiedMargin(padded, margin, mode);
  }
  return padded;
}
