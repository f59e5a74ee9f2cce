/**
 * Looking for a stored value. One transfer that breaks does not make a value lost: a node has lost it when the head says that the node is dead, or the
 * node itself that it has not got it. Any other is asked again for a while.
 */
import type { MusterError } from '@muster/base';
import type { Endpoint } from '@muster/protocol';
import type { Owner } from './owner.js';

/** A node that lives, and from which nothing can be read for so long, counts as one that has lost the value. */
const SEARCH_MAX_MS = 30_000;
/** The pause before attempt n + 1 is FIRST * 2^n, at most MAX, times a random half to whole. */
const PAUSE_FIRST_MS = 50;
const PAUSE_MAX_MS = 2000;

export class Search {
  readonly #untilMs: number;
  #pauseCount = 0;

  constructor(readonly owner: Owner, public locations: readonly Endpoint[]) {
    this.#untilMs = owner.ports.nowMs() + SEARCH_MAX_MS;
  }

  /** A fetch has failed with OBJECT_LOST. How long to pause before the next one, from what is left in `locations`; null: the value is lost on all of them. */
  failed(error: MusterError): number | null {
    const { self, ports, objects } = this.owner;
    const missingOn = new Set(String(error.details['missingOn'] ?? '').split(' ')).add(self.endpoint.nodeId); // this node would have found its own
    this.locations = this.locations.filter(({ nodeId }) => !missingOn.has(nodeId) && !objects.isDeadNode(nodeId));
    if (this.locations.length === 0 || ports.nowMs() >= this.#untilMs) return null;
    return Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** this.#pauseCount++) * (0.5 + ports.random() / 2);
  }
}
