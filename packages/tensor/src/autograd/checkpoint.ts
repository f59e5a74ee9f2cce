/** Gradient checkpointing: activations are computed a second time instead of being kept. Source: Chen et al. 2016; torch.utils.checkpoint. */
import { autocastState, setAutocastState } from '../amp/policy.js';
import { fromState, randomState, type RandomState } from '../random.js';
import { tidy } from '../scope.js';
import { filled, viewOf, type Tensor } from '../tensor.js';
import { backward } from './backward.js';
import { apply, enableGrad, isGradEnabled, type Operation } from './graph.js';

type Segment = (...inputs: Tensor[]) => Tensor;

const checkpointed: Operation<{ readonly segment: Segment; readonly random: RandomState; readonly cast: ReturnType<typeof autocastState> }> = {
  name: 'checkpoint',
  forward(context, inputs, { segment }) {
    context.save(...inputs);
    const result = tidy(() => segment(...inputs));
    return inputs.includes(result) ? viewOf(result, result.shape, result.strides) : result;
  },
  backward({ saved, wants }, gradient, { segment, random, cast }) {
    const inputs = saved.map((input, index) => detached(input, wants[index]!));  // their gradients outlive the computation
    const castBefore = setAutocastState(cast);
    try {
      tidy(() => {
        const result = enableGrad(() => fromState(random, () => segment(...inputs)));
        if (result.requiresGrad) backward(result, gradient);
      });
    } finally {
      setAutocastState(castBefore);
    }
    for (const input of inputs) input.dispose();
    return inputs.map((input) => input.grad);
  },
};

function detached(tensor: Tensor, wantsGradient: boolean): Tensor {
  const alias = viewOf(tensor, tensor.shape, tensor.strides);
  if (wantsGradient) alias.requiresGrad = true;
  return alias;
}

/**
 * `segment(...inputs)`, of whose inside nothing is kept: the backward pass computes it again, with the same random numbers of the default generator and under
 * the same autocast. Parameters that it uses get their gradients, also where no input requires one, and their listeners are called once for each segment.
 * @example const x = checkpoint((x) => block.forward(x), input);
 */
export function checkpoint(segment: Segment, ...inputs: Tensor[]): Tensor {
  if (!isGradEnabled()) return tidy(() => segment(...inputs));  // nothing is kept anyway
  const state = { random: randomState(), cast: autocastState() };
  if (inputs.some(({ requiresGrad }) => requiresGrad)) return apply(checkpointed, inputs, { segment, ...state });
  return apply(checkpointed, [...inputs, anchor()], { segment: (...all) => segment(...all.slice(0, -1)), ...state });
}

/** Has the backward pass come to a segment of which only the parameters require gradients: before it has been recorded nobody knows of them. */
function anchor(): Tensor {
  const tensor = filled([], 0, 'f32');
  tensor.requiresGrad = true;
  return tensor;
}
