/**
 * The way back through the graph. Nodes are gone through from the last made to the first, so each has its whole gradient when its turn comes.
 *
 * A gradient under way belongs to the engine: it is added to in place where nobody else sees its memory, and given back as soon as its node is done. Leaves
 * get theirs when the last of their uses is done: that moment is what data-parallel training waits for.
 */
import { tensorError } from '../failure.js';
import { outsideScopes } from '../scope.js';
import { isSameShape } from '../shape.js';
import { checkUsable, empty, filled, Tensor, viewOf, type GradientHook } from '../tensor.js';
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
    const isOurs = before.storage.references === 1 && before.isDense;
    const sum = isOurs ? before : empty(before.shape, before.dtype, before.device);
    sum.device.map('add', sum, before, gradient);
    if (!isOurs) before.dispose();
    gradient.dispose();
    this.#pending.set(place, sum);
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
    checkUsable('a gradient hook', next);
    if (next !== current && !isSameShape(next.shape, current.shape)) throw tensorError('a gradient hook', [current, next], 'it must return a gradient of the same shape');
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
  } else if (gradient.storage.references === 1 && gradient.isDense && gradient.dtype === tensor.dtype) {
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
function passThrough(node: GraphNode, whole: Tensor, gradients: Gradients): readonly Place[] {
  const gradient = runHooks(node.hooks, whole);
  if (node.retains !== null) accumulate(node.retains, viewOf(gradient, gradient.shape, gradient.strides));
  const results = node.backward(gradient);
  const reached: Place[] = [];
  node.edges.forEach((edge, index) => {
    if (edge === null) return;
    const result = results[index];
    if (result === null || result === undefined) throw tensorError('backward', [`the graph of ${node.name}`], `its input ${index} has no gradient`);
    const isSeen = result === gradient || results.indexOf(result) !== index;
    gradients.add(edge, isSeen ? viewOf(result, result.shape, result.strides) : result);
    reached.push(edge);
  });
  for (const result of results) if (result !== null && result !== gradient && !node.edges[results.indexOf(result)]) result.dispose();
  gradient.dispose();
  if (gradient !== whole) whole.dispose();
  return reached;
}

/**
 * Adds the gradient of `root` with respect to each leaf to that leaf's `grad`.
 * @param gradient of `root`; may be left out where that is one number: then it is 1.
 * @throws TensorError
 */
export function backward(root: Tensor, gradient?: Tensor, { retainGraph = false }: BackwardOptions = {}): void {
  checkUsable('backward', root);
  if (gradient !== undefined) checkUsable('backward', gradient);
  if (!root.requiresGrad) throw tensorError('backward', [root], 'nothing that it was computed from requires a gradient');
  if (gradient === undefined && root.size !== 1) throw tensorError('backward', [root], 'only of one number the gradient may be left out: pass one, or take mean() or sum() first');
  if (gradient !== undefined && !isSameShape(gradient.shape, root.shape)) throw tensorError('backward', [root, gradient], 'the gradient must have the shape of what it is the gradient of');
  outsideScopes(() => noGrad(() => {
    const first = gradient === undefined ? filled(root.shape, 1, root.dtype, root.device) : viewOf(gradient, gradient.shape, gradient.strides);
    if (root.node === null) return finishLeaf(root, first);
    goBack(root.node, first, retainGraph);
  }));
}

function goBack(root: GraphNode, first: Tensor, retainGraph: boolean): void {
  const { nodes, uses } = reach(root);
  const gradients = new Gradients();
  gradients.add(root, first);
  for (const node of nodes) {
    const gradient = gradients.take(node);
    if (gradient === undefined) continue;
    for (const place of passThrough(node, gradient, gradients)) {
      if (place instanceof GraphNode) continue;
      const left = uses.get(place)! - 1;
      uses.set(place, left);
      if (left === 0) finishLeaf(place, gradients.take(place)!);
    }
    if (!retainGraph) node.free();
  }
}
