/**
 * Reservations for groups that are too large for what is free now, and what may run before them: EASY backfilling. The group at the head of the line is promised the
 * earliest moment at which it fits if what runs ends when it is expected to. Anything else may start now if it ends before that moment, or leaves at that moment
 * enough for the group.
 *
 * Source: Lifka, "The ANL/IBM SP scheduling system", 1995; Mu'alem and Feitelson, 2001.
 */
import type { Cluster, Holding } from './cluster.js';
import type { Placed } from './group/bundles.js';
import { GroupShape } from './group/plan-group.js';
import type { GroupRequest } from './request.js';
import { Shape } from './shape.js';

/** Something that runs, and when it is expected to end. */
export interface Ending extends Holding {
  readonly nodeId: string;
  /** Infinity: nobody knows. */
  readonly endsAtMs: number;
}

/** A promise to a group. */
export class Reservation {
  readonly startAtMs: number;
  readonly placed: readonly Placed[];
  /** The cluster at the moment of the start, with the group in its place, and with all that was admitted and will still run then. */
  readonly #then: Cluster;

  private constructor(startAtMs: number, placed: readonly Placed[], then: Cluster) {
    this.startAtMs = startAtMs;
    this.placed = placed;
    this.#then = then;
  }

  /** The earliest promise that can be made, or null when the group does not fit even after all expected ends. */
  static make(cluster: Cluster, request: GroupRequest, endings: readonly Ending[]): Reservation | null {
    const inOrder = endings.filter(({ endsAtMs }) => endsAtMs < Infinity).sort((a, b) => a.endsAtMs - b.endsAtMs);
    const after = (count: number): Cluster => {
      const later = cluster.fork();
      for (const ending of inOrder.slice(0, count)) if (later.has(ending.nodeId)) later.release(ending.nodeId, ending);
      return later;
    };
    const planAfter = (count: number): readonly Placed[] | null => new GroupShape(after(count), request).plan();
    if (planAfter(inOrder.length) === null) return null;
    let tooFew = -1;
    let enough = inOrder.length;
    while (enough - tooFew > 1) {
      const middle = (tooFew + enough) >> 1;
      if (planAfter(middle) === null) tooFew = middle;
      else enough = middle;
    }
    const then = after(enough);
    const placed = new GroupShape(then, request).plan()!;
    placed.forEach(({ nodeId, gpuIds }, index) => then.holdAt(nodeId, { resources: request.bundles[index]!.resources, gpuIds }));
    return new Reservation(enough === 0 ? 0 : inOrder[enough - 1]!.endsAtMs, placed, then);
  }

  /** A shape for {@link admits}, to be kept as long as it is of use. */
  shapeOf(request: Shape['request']): Shape {
    return new Shape(this.#then, request);
  }

  /** Whether something that ends at `endsAtMs` may start on the node now without making the group wait. `shape` is of {@link shapeOf}. */
  admits(shape: Shape, nodeId: string, endsAtMs: number): boolean {
    if (endsAtMs <= this.startAtMs) return true;
    const node = this.#then.rowOf(nodeId);
    return node !== undefined && shape.fits(node);
  }

  /** Something was admitted and has started. */
  started(nodeId: string, resources: Holding['resources'], endsAtMs: number): void {
    if (endsAtMs > this.startAtMs) this.#then.hold(nodeId, resources);
  }
}
