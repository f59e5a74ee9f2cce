/** The bundles of one placement group as rows of a cluster of their own, in which its leases are placed. Made when the first one is asked for. */
import { NODE_LABEL, type ResourceSet } from '@muster/base';
import { Cluster, explain, type Explanation, type LabelTerm, type PlacementHints, type PlacementRequest, type RowWords } from '@muster/scheduler';
import type { Group } from './group.js';
import type { Lease } from './leases.js';
import type { Place, Pool } from './pool.js';
import { Shapes } from './shapes.js';

/** Few, because groups are many, and most have few bundles. */
const CHANGES_KEPT = 64;
const WORDS: RowWords = {
  singular: 'bundle', plural: 'bundles', whole: 'the placement group', unreachable: (isMany) => `${isMany ? 'have' : 'has'} no place at the moment`,
};
const NO_BUNDLES: Pick<Group, 'request' | 'bundles' | 'state'> = { request: { bundles: [], strategy: 'pack', topology: [] }, bundles: [], state: 'removed' };

const rowOf = (index: number): string => `bundle ${index}`;

/** What a request for this bundle asks of the rows. Null: any. It names them, so that bundles without cpus will do. */
export function termForBundle(index: number | null): LabelTerm {
  return { key: NODE_LABEL, operator: index === null ? 'exists' : 'in', values: index === null ? [] : [rowOf(index)], weight: 0 };
}

/** What a group offers to tasks and actors. */
export class GroupPool implements Pool {
  readonly cluster = new Cluster(CHANGES_KEPT);
  readonly shapes = new Shapes(this.cluster);
  revision = 0;
  readonly leases = new Set<Lease>();
  readonly #group: Pick<Group, 'bundles' | 'state'>;
  readonly #indexOf = new Map<string, number>();
  readonly #onChange: () => void;
  #closedBecause: string | null = null;

  /** `onChange`: refusals may hold no longer. */
  constructor(readonly groupId: string, group: Pick<Group, 'request' | 'bundles' | 'state'>, onChange: () => void) {
    this.#group = group;
    this.#onChange = onChange;
    group.request.bundles.forEach(({ resources }, index) => {
      this.#indexOf.set(rowOf(index), index);
      this.cluster.add({ nodeId: rowOf(index), total: resources, labels: {} });
    });
    this.refresh();
  }

  /** Of a group that is no more, or never was. */
  static closed(groupId: string, reason: string): GroupPool {
    const pool = new GroupPool(groupId, NO_BUNDLES, () => {});
    pool.#closedBecause = reason;
    return pool;
  }

  /** Its bundles were placed or lost, or their nodes are cut off or have returned. */
  refresh(): void {
    const isThere = this.#group.state === 'created' || this.#group.state === 'repairing';
    for (const [row, index] of this.#indexOf) {
      const share = this.#group.bundles[index]?.share;
      this.cluster.setCondition(row, isThere && share?.state === 'committed' && share.node.stream !== null ? 'ready' : 'unreachable');
    }
    this.#changed();
  }

  /** It takes no more leases. */
  close(reason: string): void {
    this.#closedBecause = reason;
    for (const row of this.#indexOf.keys()) this.cluster.remove(row);
    this.#indexOf.clear();
    this.#changed();
  }

  hold(row: string, resources: ResourceSet): Place {
    const index = this.#indexOf.get(row)!;
    const { share, holding: bundle } = this.#group.bundles[index]!;
    const holding = this.cluster.hold(row, resources);
    const gpuIds = holding.gpuIds.map((id) => bundle.gpuIds[id]!);
    return { row, holding, node: share.node, gpuIds, bundle: { groupId: this.groupId, epoch: share.epoch, index } };
  }

  release({ row, holding: { gpuIds } }: Place, resources: ResourceSet): void {
    if (!this.cluster.has(row)) return;
    this.cluster.release(row, { resources, gpuIds });
    this.#changed();
  }

  lend({ row }: Place, resources: ResourceSet, sign: 1 | -1): void {
    if (!this.cluster.has(row)) return;
    this.cluster.lend(row, resources, sign);
    if (sign === 1) this.#changed();
  }

  hintsFor({ preferredNodeIds }: PlacementHints): PlacementHints {
    const isOn = (nodeId: string) => ([, index]: [string, number]): boolean => this.#group.bundles[index]?.share.node.id === nodeId;
    return { preferredNodeIds: preferredNodeIds.flatMap((nodeId) => [...this.#indexOf].filter(isOn(nodeId)).map(([row]) => row)), leasesByNode: null };
  }

  explain(request: PlacementRequest): Explanation {
    const explanation = explain(this.cluster, request, WORDS);
    return this.#closedBecause === null ? explanation : { ...explanation, reasons: this.#closedBecause };
  }

  awaitedBy(): null {
    return null;
  }

  #changed(): void {
    this.revision++;
    this.#onChange();
  }
}
