/** What the forward pass of a batch says of itself. */
import { Tensor } from '@muster/tensor';
import { invalidArgument } from './failure.js';

/** What the forward pass of a batch computes: the loss, and what else is worth knowing. */
export type Computed = Tensor | { readonly loss: Tensor; readonly metrics: Readonly<Record<string, number>> };

/** What travels with the metrics, under names that these cannot have. */
const OWN_NAMES = ['loss', 'dataWaitMs'];

/** @throws MusterError INVALID_ARGUMENT for what is no loss, such as the promise of one: it would be computed when its scope is over; and for metrics that are no numbers */
export function lossAndMetrics(computed: Computed): Exclude<Computed, Tensor> {
  const found = computed instanceof Tensor ? { loss: computed, metrics: {} } : computed;
  if (!(found?.loss instanceof Tensor)) throw invalidArgument('what a step computes', 'a loss, or { loss, metrics }, returned when it is done: await data before the step');
  for (const [name, value] of Object.entries(found.metrics ?? {})) {
    if (OWN_NAMES.includes(name)) throw invalidArgument(`a metric named ${name}`, 'named otherwise: records have that already');
    if (typeof value !== 'number') throw invalidArgument(`the metric ${name}`, value as unknown instanceof Tensor ? 'a number: take item() of the tensor' : 'a number');
  }
  return found;
}
