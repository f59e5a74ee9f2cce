/** Tensors as text, for a person: what console.log() writes. Neither recorded nor traced. */
import { isFloating } from './dtype.js';
import { describe } from './failure.js';
import { outsideScopes } from './scope.js';
import { copyOf, viewOf, type Tensor } from './tensor.js';

/** A tensor of more elements is shown by its edges. Source: PyTorch's print options. */
const WHOLE_MAX = 1000;
/** What of each end of a dimension is shown then. */
const EDGE = 3;
const DIGITS = 5;

/**
 * `f32[2, 2] requiresGrad`, and below it the elements in rows.
 * @example
 * f32[2, 2]
 * [[1, 2],
 *  [3, 4]]
 */
export function show(tensor: Tensor): string {
  const { device: { name } } = tensor;
  const head = [describe(tensor), name === 'cpu' ? '' : `on ${name}`, tensor.requiresGrad ? 'requiresGrad' : '', tensor.isDisposed ? 'disposed' : ''].filter(Boolean).join(' ');
  if (tensor.isDisposed) return head;
  const edge = tensor.size > WHOLE_MAX ? EDGE : Infinity;
  return `${head}${tensor.rank < 2 ? ' ' : '\n'}${outsideScopes(() => inBrackets(tensor, edge, 1))}`;
}

/** @param indent of what begins a line within */
function inBrackets(tensor: Tensor, edge: number, indent: number): string {
  if (tensor.rank === 0) return numbersOf(tensor)[0]!;
  const [extent, ...others] = tensor.shape as [number, ...number[]];
  const [stride, ...strides] = tensor.strides as [number, ...number[]];
  const hasGap = extent > 2 * edge;
  const part = (from: number, to: number): string[] => {
    if (others.length === 0) {
      using row = viewOf(tensor, [to - from], [stride], tensor.offset + from * stride);
      return numbersOf(row);
    }
    return Array.from({ length: to - from }, (_, index) => {
      using inner = viewOf(tensor, others, strides, tensor.offset + (from + index) * stride);
      return inBrackets(inner, edge, indent + 1);
    });
  };
  const parts = hasGap ? [...part(0, edge), '...', ...part(extent - edge, extent)] : part(0, extent);
  return `[${parts.join(others.length === 0 ? ', ' : `,${'\n'.repeat(others.length)}${' '.repeat(indent)}`)}]`;
}

function numbersOf(tensor: Tensor): string[] {
  if (tensor.size === 0) return [];
  using dense = copyOf(tensor, isFloating(tensor.dtype) ? 'f32' : tensor.dtype);
  const shown = (value: number | bigint): string => (tensor.dtype === 'bool' ? String(value !== 0) : String(typeof value === 'bigint' || Number.isInteger(value) ? value : Number(value.toPrecision(DIGITS))));
  return Array.from(dense.device.read(dense) as ArrayLike<number | bigint>, shown);
}
