/** Operations of one's own: what torch.autograd.Function is. */
export { apply, type Context, type Operation, type SavedContext } from './graph.js';
