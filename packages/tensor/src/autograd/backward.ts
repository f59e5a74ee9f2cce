/**
 * The way back through the graph. Nodes are gone through from the last made to the first, so each has its whole gradient when its turn comes.
 *
 * A gradient under way belongs to the engine: it is added to in place where nobody else sees its memory, and given back as soon as its node is done. Leaves
 * get theirs when the last of their uses is done: that moment is what data-parallel training waits for.
 */
import { tensorError } from '../failure.js';
import { outsideScopes } from '../scope.js';
import { isSameShape } from '../shape.js';
import { checkUsable, copyOf, empty, filled, isUnshared, Tensor, viewOf, type GradientHook } from '../tensor.js';
import { GraphNode, noGrad } from './graph.js';

export interface BackwardOptions {
  /** Keeps what was saved, for another backward pass. */
  readonly retainGraph?: boolean;
}

type Place = GraphNode | Tensor;

/** What is reachable: the nodes, the last made first, and how often each leaf is used. */
interface Reach {
  readonly nodes: readonly GraphNode[];
  readonly uses: Map<Tensor, number>;
}

function reach(root: GraphNode): Reach {
  const nodes = new Set<GraphNode>([root]);
  const uses = new Map<Tensor, number>();
  for (const node of nodes) {  // grows on the way
    for (const edge of node.edges) {
      if (edge instanceof GraphNode) nodes.add(edge);
      else if (edge !== null) uses.set(edge, (uses.get(edge) ?? 0) + 1);
    }
  }
  return { nodes: [...nodes].sort((first, second) => second.number - first.number), uses };
}

/** Gradients that are under way. */
class Gradients {
  readonly #pending = new Map<Place, Tensor>();

  /** Takes the tensor over. */
  add(place: Place, gradient: Tensor): void {
    const before = this.#pending.get(place);
    if (before === undefined) {
      this.#pending.set(place, gradient);
      return;
    }
    const sum = isUnshared(before) ? before : empty(before.shape, before.dtype, before.device);
    sum.device.map('add', sum, before, gradient);
    if (sum !== before) before.dispose();
    gradient.dispose();
    this.#pending.set(place, sum);
  }

  /** What there is of a gradient, if that can be added to in place. */
  sumOf(place: Place | null): Tensor | null {
    const sum = place === null ? undefined : this.#pending.get(place);
    return sum !== undefined && isUnshared(sum) ? sum : null;
  }

  take(place: Place): Tensor | undefined {
    const gradient = this.#pending.get(place);
    this.#pending.delete(place);
    return gradient;
  }
}

/** What the hooks make of a gradient. They may keep what they see. */
function runHooks(hooks: readonly GradientHook[] | null, gradient: Tensor): Tensor {
  let current = gradient;
  for (const hook of hooks ?? []) {
    const next = hook(viewOf(current, current.shape, current.strides)) ?? current;
    if (!(next instanceof Tensor)) throw tensorError('a gradient hook', [current], 'it must return a gradient or nothing, when it is done: no promise of one');
    checkUsable('a gradient hook', next);
    if (!isSameShape(next.shape, current.shape) || next.dtype !== current.dtype) throw tensorError('a gradient hook', [current, next], 'it must return a gradient of the same shape and dtype');
    current = next === current ? current : viewOf(next, next.shape, next.strides);
  }
  return current;
}

/** Adds a gradient to a tensor's `grad`, and takes it over. */
export function accumulate(tensor: Tensor, gradient: Tensor): void {
  const { grad, gradientTarget } = tensor;
  if (grad !== null) {
    grad.device.map('add', grad, grad, gradient);
    grad.storage.version++;
    gradient.dispose();
  } else if (gradientTarget !== null) {
    gradientTarget.device.map('copy', gradientTarget, gradient);
    gradientTarget.storage.version++;
    tensor.grad = gradientTarget;
    gradient.dispose();
  } else if (isUnshared(gradient) && gradient.dtype === tensor.dtype) {
    tensor.grad = gradient.keep();
  } else {
    tensor.grad = empty(tensor.shape, tensor.dtype, tensor.device).keep();
    tensor.device.map('copy', tensor.grad, gradient);
    gradient.dispose();
  }
}

function finishLeaf(leaf: Tensor, gradient: Tensor): void {
  accumulate(leaf, runHooks(leaf.hooks, gradient));
  for (const listener of leaf.gradientListeners ?? []) listener(leaf);
}

/** One node's share: its gradient becomes those of its inputs. */
function passThrough(node: GraphNode, whole: Tensor, gradients: Gradients): void {
  const gradient = runHooks(node.hooks, whole);
  if (node.retains !== null) accumulate(node.retains, viewOf(gradient, gradient.shape, gradient.strides));
  const sum = gradients.sumOf(node.edges[0] ?? null);
  if (sum === null || !node.addGradient(sum, gradient)) spread(node, gradient, gradients);
  gradient.dispose();
  if (gradient !== whole) whole.dispose();
}

/** Makes the gradient of each input, and adds it to what there is. */
function spread(node: GraphNode, gradient: Tensor, gradients: Gradients): void {
  const results = node.backward(gradient);
  node.edges.forEach((edge, index) => {
    if (edge === null) return;
    const result = results[index];
    if (result === undefined) throw tensorError('backward', [`the graph of ${node.name}`], `it says nothing of the gradient of its input ${index}`);
    if (result === null) return;
    const input = node.inputs[index]!;
    if (!isSameShape(result.shape, input.shape)) throw tensorError('backward', [result], `the gradient that ${node.name} gives its input ${index} must have that one's shape, [${input.shape.join(', ')}]`);
    const isSeen = result === gradient || results.indexOf(result) !== index;
    gradients.add(edge, isSeen ? viewOf(result, result.shape, result.strides) : result);
  });
  for (const result of results) if (result !== null && result !== gradient && !node.edges[results.indexOf(result)]) result.dispose();
}

/**
 * Adds the gradient of `root` with respect to each leaf to that leaf's `grad`.
 * @param gradient of `root`, in whose dtype it is taken; may be left out where that is one number: then it is 1.
 * @throws TensorError
 */
export function backward(root: Tensor, gradient?: Tensor, { retainGraph = false }: BackwardOptions = {}): void {
  checkUsable('backward', root);
  if (gradient !== undefined) checkUsable('backward', gradient);
  if (!root.requiresGrad) throw tensorError('backward', [root], 'nothing that it was computed from requires a gradient');
  if (gradient === undefined && root.size !== 1) throw tensorError('backward', [root], 'only of one number the gradient may be left out: pass one, or take mean() or sum() first');
  if (gradient !== undefined && !isSameShape(gradient.shape, root.shape)) throw tensorError('backward', [root, gradient], 'the gradient must have the shape of what it is the gradient of');
  outsideScopes(() => noGrad(() => {
    const first = gradient === undefined ? filled(root.shape, 1, root.dtype, root.device) : inDtypeOf(root, gradient);
    if (root.node === null) return finishLeaf(root, first);
    goBack(root.node, first, retainGraph);
  }));
}

/** A gradient that is the engine's, in the dtype that the pass goes on in. */
function inDtypeOf({ dtype }: Tensor, gradient: Tensor): Tensor {
  return gradient.dtype === dtype ? viewOf(gradient, gradient.shape, gradient.strides) : copyOf(gradient, dtype);
}

function goBack(root: GraphNode, first: Tensor, retainGraph: boolean): void {
  const { nodes, uses } = reach(root);
  const gradients = new Gradients();
  gradients.add(root, first);
  for (const node of nodes) {
    const gradient = gradients.take(node);
    if (gradient !== undefined) passThrough(node, gradient, gradients);
    for (const leaf of node.edges) if (leaf instanceof Tensor) finishUse(leaf);
    if (!retainGraph) node.free();
  }

  /** One use of a leaf is done, whether anything flowed back from it or not; after the last of them the leaf gets what did. */
  function finishUse(leaf: Tensor): void {
    const left = uses.get(leaf)! - 1;
    uses.set(leaf, left);
    const gradient = left === 0 ? gradients.take(leaf) : undefined;
    if (gradient !== undefined) finishLeaf(leaf, gradient);
  }
}
