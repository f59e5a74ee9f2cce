/** Shapes and strides, as plain arrays of whole numbers. Knows of no tensor. */

export type Shape = readonly number[];

/** The most dimensions that a tensor has: what the kernels' calls hold. */
export const RANK_MAX = 8;

export function sizeOf(shape: Shape): number {
  let size = 1;
  for (const extent of shape) size *= extent;
  return size;
}

/** Of elements that lie one behind the other, the last dimension fastest. */
export function denseStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let dimension = shape.length - 1; dimension >= 0; dimension--) {
    strides[dimension] = stride;
    stride *= shape[dimension]!;
  }
  return strides;
}

export function isDense(shape: Shape, strides: Shape): boolean {
  let stride = 1;
  for (let dimension = shape.length - 1; dimension >= 0; dimension--) {
    if (shape[dimension] === 1) continue;
    if (strides[dimension] !== stride) return shape.includes(0);
    stride *= shape[dimension]!;
  }
  return true;
}

export function isSameShape(first: Shape, second: Shape): boolean {
  if (first.length !== second.length) return false;
  for (let dimension = 0; dimension < first.length; dimension++) if (first[dimension] !== second[dimension]) return false;
  return true;
}

/** What two shapes make together: sizes of 1, and dimensions missing in front, repeat. Null: they do not fit. */
export function broadcast(first: Shape, second: Shape): Shape | null {
  if (isSameShape(first, second)) return first;
  const rank = Math.max(first.length, second.length);
  const shape = new Array<number>(rank);
  for (let back = 1; back <= rank; back++) {
    const a = first[first.length - back] ?? 1;
    const b = second[second.length - back] ?? 1;
    if (a !== b && a !== 1 && b !== 1) return null;
    shape[rank - back] = a === 1 ? b : a;
  }
  return shape;
}

/** Strides that make a tensor of `shape` look as if it had the shape `wanted`, with which it broadcasts. */
export function broadcastStrides(shape: Shape, strides: Shape, wanted: Shape): Shape {
  if (isSameShape(shape, wanted)) return strides;
  const missing = wanted.length - shape.length;
  return wanted.map((extent, dimension) => {
    const own = dimension - missing;
    return own < 0 || (shape[own] === 1 && extent !== 1) ? 0 : strides[own]!;
  });
}

/**
 * Strides of the same memory in another shape of as many elements, or null where it needs a copy. Runs of dimensions that lie in one piece are cut anew.
 * Source: PyTorch's computeStride.
 */
export function viewStrides(shape: Shape, strides: Shape, wanted: Shape): number[] | null {
  if (sizeOf(shape) === 0) return denseStrides(wanted);
  const result = new Array<number>(wanted.length);
  let next = wanted.length - 1;
  let runElements = 1;
  let baseStride = strides.at(-1) ?? 1;
  for (let dimension = shape.length - 1; dimension >= 0; dimension--) {
    runElements *= shape[dimension]!;
    const endsRun = dimension === 0 || (shape[dimension - 1] !== 1 && strides[dimension - 1] !== runElements * baseStride);
    if (!endsRun) continue;
    let viewElements = 1;
    while (next >= 0 && (viewElements < runElements || wanted[next] === 1)) {
      result[next] = viewElements * baseStride;
      viewElements *= wanted[next]!;
      next--;
    }
    if (viewElements !== runElements) return null;
    runElements = 1;
    baseStride = strides[dimension - 1] ?? 1;
  }
  while (next >= 0) result[next--] = 1;
  return result;
}
