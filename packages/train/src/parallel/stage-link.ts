/** A stage's lines to the one before and the one behind: activations go down, their gradients come up. What they look like is announced once a batch. */
import type { CallArray, Communicator } from '@muster/collective';
import { zeros, type DeviceName, type Dtype, type Tensor } from '@muster/tensor';
import { invalidArgument } from '../failure.js';

/** What may travel, by its number in an announcement. */
const DTYPES: readonly Dtype[] = ['f32', 'f16', 'bf16'];
/** A dtype, how many dimensions, and those: as many as a tensor may have. */
const ANNOUNCEMENT_NUMBERS = 2 + 8;

interface Form {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** From which side a stage waits for a tensor: its input from the stage before, or the gradient of its output from the one behind. */
export type Awaited = 'input' | 'gradient';

/** The lines of one batch. Both ends make their calls in the order of the schedule, and of two that meet both are one group, so that neither waits for the other. */
export class StageLink {
  readonly #pipeline: Communicator;
  readonly #device: DeviceName;
  #input: Form | null = null;
  #output: Form | null = null;

  /** @param device what comes is put on it */
  constructor(pipeline: Communicator, device: DeviceName) {
    this.#pipeline = pipeline;
    this.#device = device;
  }

  get isFirst(): boolean {
    return this.#pipeline.rank === 0;
  }

  get isLast(): boolean {
    return this.#pipeline.rank === this.#pipeline.size - 1;
  }

  /**
   * Sends the output of this stage down, if it is not the last. Resolves when it may be disposed of.
   * @param awaited what to wait for meanwhile, if anything @returns it, the caller's to dispose of
   */
  async sendOutput(output: Tensor, awaited: Awaited | null): Promise<Tensor | null> {
    if (this.isLast) return this.receive(awaited);
    await this.#announce(output);
    return this.#exchange(output, this.#pipeline.rank + 1, awaited);
  }

  /** As {@link sendOutput}: the gradient of this stage's input, up. */
  async sendGradient(gradient: Tensor | null, awaited: Awaited | null): Promise<Tensor | null> {
    return gradient === null ? this.receive(awaited) : this.#exchange(gradient, this.#pipeline.rank - 1, awaited);
  }

  /** Null where nobody sends: the first stage's input, and the gradient of the last one's output. */
  async receive(awaited: Awaited | null): Promise<Tensor | null> {
    return this.#exchange(null, 0, awaited);
  }

  async #exchange(sent: Tensor | null, to: number, awaited: Awaited | null): Promise<Tensor | null> {
    const form = awaited === 'input' ? await this.#inputForm() : awaited === 'gradient' ? this.#output : null;
    const received = form === null ? null : zeros(form.shape, { dtype: form.dtype, device: this.#device }).keep();
    const from = this.#pipeline.rank + (awaited === 'input' ? -1 : 1);
    await this.#pipeline.group((group) => {
      if (sent !== null) group.send(sent.elements() as CallArray, { to, dtype: sent.dtype as 'f32' });
      if (received !== null) group.recv(received.elements() as CallArray, { from, dtype: received.dtype as 'f32' });
    });
    return received;
  }

  async #announce(output: Tensor): Promise<void> {
    const { dtype, shape } = output;
    if (this.#output !== null) {
      if (dtype !== this.#output.dtype || shape.join() !== this.#output.shape.join()) throw invalidArgument(`an output ${dtype}[${shape.join(', ')}] of a stage`, `${this.#output.dtype}[${this.#output.shape.join(', ')}], as that of the batch's first part`);
      return;
    }
    if (!DTYPES.includes(dtype)) throw invalidArgument(`an output of ${dtype} of a stage`, `of ${DTYPES.join(', ')}: the stage behind sends its gradient back`);
    this.#output = { dtype, shape };
    const announcement = new Int32Array(ANNOUNCEMENT_NUMBERS);
    announcement.set([DTYPES.indexOf(dtype), shape.length, ...shape]);
    await this.#pipeline.send(announcement, { to: this.#pipeline.rank + 1 });
  }

  async #inputForm(): Promise<Form | null> {
    if (this.isFirst) return null;
    if (this.#input !== null) return this.#input;
    const announcement = new Int32Array(ANNOUNCEMENT_NUMBERS);
    await this.#pipeline.recv(announcement, { from: this.#pipeline.rank - 1 });
    const [dtype = 0, dimensions = 0, ...shape] = announcement;
    return (this.#input = { dtype: DTYPES[dtype]!, shape: shape.slice(0, dimensions) });
  }
}
