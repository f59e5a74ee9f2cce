/** How many trials the cluster has room for: those that it could run at once if nobody else used it. Others' share is the scheduler's business. */
import { wholeAmount, type ResourceSet } from '@muster/base';
import { nodes, type NodeInfo } from '@muster/core';

/** Nodes come and go by the minute. */
const LOOK_INTERVAL_MS = 2_000;

/** At least one: what fits nowhere is the scheduler's to refuse, with its reasons. `size`: the processes of one trial, each of which asks for `demand`. */
export function roomFor(all: readonly Pick<NodeInfo, 'state' | 'total'>[], demand: ResourceSet, size: number): number {
  let processes = 0;
  for (const { state, total } of all) {
    if (state !== 'alive') continue;
    const counts = Object.entries(demand).map(([name, fixed]) => Math.floor((total[name] ?? 0) / wholeAmount(name, fixed) + 1e-9));
    processes += counts.length > 0 ? Math.min(...counts) : (total['cpu'] ?? 0); // what asks for nothing is run by cpus all the same
  }
  return Math.max(1, Math.floor(processes / size));
}

/** Tells how much room there is, at once and when that changes, until it is closed. */
export class RoomWatch {
  readonly #demand: ResourceSet;
  readonly #size: number;
  readonly #changed: (room: number) => void;
  #timer: NodeJS.Timeout | null = null;
  #room = 0;
  #isClosed = false;

  constructor({ demand, size, changed }: { readonly demand: ResourceSet; readonly size: number; readonly changed: (room: number) => void }) {
    this.#demand = demand;
    this.#size = size;
    this.#changed = changed;
  }

  /** Resolves when it has told for the first time. @throws what `nodes()` throws */
  async begin(): Promise<void> {
    await this.#look();
  }

  close(): void {
    this.#isClosed = true;
    if (this.#timer) clearTimeout(this.#timer);
  }

  async #look(): Promise<void> {
    const room = roomFor(await nodes(), this.#demand, this.#size);
    if (this.#isClosed) return;
    if (room !== this.#room) this.#changed((this.#room = room));
    // When the head cannot be asked, nothing is known to have changed; when it is gone, trials say so.
    this.#timer = setTimeout(() => void this.#look().catch(() => { this.#timer = null; }), LOOK_INTERVAL_MS).unref();
  }
}
