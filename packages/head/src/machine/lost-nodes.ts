/**
 * The nodes that were lost, or began to drain, a moment ago. A supervisor or a person may start others in their place: what only such a node could hold is
 * not called infeasible before they have had the time.
 */
import { formatDurationMs } from '@muster/base';
import { Cluster, GroupShape, Shape, type GroupRequest, type NodeSpec, type PlacementRequest } from '@muster/scheduler';
import type { HeadContext } from './context.js';

/** A node such as a demand waits for. */
export interface AwaitedNode {
  readonly untilMs: number;
  /** For people. */
  readonly reasons: string;
}

interface LostNode extends AwaitedNode {
  readonly spec: NodeSpec;
  /** The node alone, with all that it had free. Under another id, because an id never returns. */
  readonly cluster: Cluster;
}

/** What they were, as long as they are waited for. */
export class LostNodes {
  readonly #context: HeadContext;
  /** In the order of their deaths. */
  #nodes: LostNode[] = [];

  constructor(context: HeadContext) {
    this.#context = context;
  }

  /** @param why what it does not take leases for, to follow its name */
  add(node: NodeSpec, why: string): void {
    const { nowMs, settings: { lostNodeGraceMs } } = this.#context;
    const reasons = `${node.nodeId} could, but ${why}; the demand waits ${formatDurationMs(lostNodeGraceMs)} for one like it`;
    const spec = { nodeId: node.nodeId, total: node.total, labels: node.labels };
    const cluster = new Cluster();
    cluster.add({ nodeId: '', total: node.total, labels: node.labels });
    this.#nodes = [...this.#recent(), { spec, cluster, untilMs: nowMs + lostNodeGraceMs, reasons }];
  }

  /** The last one that could have held what all living nodes never can; null: there was none. */
  awaitedBy(request: PlacementRequest): AwaitedNode | null {
    return this.#recent().findLast(({ cluster }) => new Shape(cluster, request).isFeasible) ?? null;
  }

  /** The last one, if all of them together with `idle`, which is all living nodes without their leases, could have held the group. */
  awaitedByGroup(request: GroupRequest, idle: Cluster): AwaitedNode | null {
    const recent = this.#recent();
    const last = recent.at(-1);
    if (last === undefined) return null;
    const before = idle.fork();
    for (const [index, { spec }] of recent.entries()) before.add({ ...spec, nodeId: `lost ${index}` });
    return new GroupShape(before, request).plan() === null ? null : last;
  }

  #recent(): LostNode[] {
    return this.#nodes.filter(({ untilMs }) => untilMs > this.#context.nowMs);
  }
}

/** Why a demand waits, or why it never will have a lease. */
export const withAwaited = (reasons: string, awaited: AwaitedNode | null): string => (awaited === null ? reasons : `${reasons}; ${awaited.reasons}`);
