/** What the last stage of a pipeline has measured, at every stage. */
import type { Communicator } from '@muster/collective';

/** The names are told once, and again where there are others; numbers each time. */
export class StageMetrics {
  readonly #pipeline: Communicator;
  #names: readonly string[] = [];

  constructor(pipeline: Communicator) {
    this.#pipeline = pipeline;
  }

  /** Every stage calls it. @param own what counts at the last stage; others have nothing to say */
  async tell(own: Readonly<Record<string, number>>): Promise<Record<string, number>> {
    const { size, rank } = this.#pipeline;
    if (size === 1) return { ...own };
    const root = size - 1;
    const isLast = rank === root;
    const names = new TextEncoder().encode(JSON.stringify(Object.keys(own)));
    const isNew = isLast && Object.keys(own).join() !== this.#names.join();
    const lengths = Int32Array.of(isNew ? names.length : 0);
    await this.#pipeline.broadcast(lengths, { root });
    if (lengths[0]! > 0) {
      const told = isLast ? names : new Uint8Array(lengths[0]!);
      await this.#pipeline.broadcast(told, { root });
      this.#names = JSON.parse(new TextDecoder().decode(told)) as string[];
    }
    const values = Float64Array.from(this.#names, (name) => own[name] ?? 0);
    await this.#pipeline.broadcast(values, { root });
    return Object.fromEntries(this.#names.map((name, index) => [name, values[index]!]));
  }
}
