/**
 * The nodes that were lost a moment ago. A supervisor or a person may start them anew, under other ids: what only such a node could hold is not called
 * infeasible before they have had the time.
 */
import { formatDurationMs } from '@muster/base';
import { place, type NodeView, type PlacementRequest, type Rejection } from '@muster/scheduler';
import type { HeadContext } from './context.js';

/** A lost node whose return a demand waits for. */
export interface AwaitedNode {
  readonly untilMs: number;
  /** For people. */
  readonly reasons: string;
}

interface LostNode extends AwaitedNode {
  readonly view: NodeView;
}

/** What they were, as long as they are waited for. */
export class LostNodes {
  readonly #context: HeadContext;
  /** In the order of their deaths. */
  #nodes: LostNode[] = [];

  constructor(context: HeadContext) {
    this.#context = context;
  }

  add(view: NodeView, detail: string): void {
    const { nowMs, settings: { lostNodeGraceMs } } = this.#context;
    const reasons = `${view.nodeId} could, but was lost (${detail}); the demand waits ${formatDurationMs(lostNodeGraceMs)} for one like it`;
    this.#nodes = [...this.#recent(), { view, untilMs: nowMs + lostNodeGraceMs, reasons }];
  }

  /** The last one that could have held what all living nodes never can; null: there was none, or some living node can. */
  awaitedBy(request: PlacementRequest, rejection: Rejection): AwaitedNode | null {
    if (this.#nodes.length === 0 || rejection.feasible || request.nodeId !== '') return null; // an id never returns
    const couldHold = ({ view }: LostNode): boolean => {
      const decision = place({ nodes: [view] }, request, { preferredNodeId: '', leasesByNode: null });
      return 'nodeId' in decision || decision.rejection.feasible;
    };
    return this.#recent().findLast(couldHold) ?? null;
  }

  #recent(): LostNode[] {
    return this.#nodes.filter(({ untilMs }) => untilMs > this.#context.nowMs);
  }
}

/** Why a demand waits, or why it never will have a lease. */
export const reasonsOf = (rejection: Rejection, awaited: AwaitedNode | null): string =>
  awaited === null ? rejection.reasons : `${rejection.reasons}; ${awaited.reasons}`;
