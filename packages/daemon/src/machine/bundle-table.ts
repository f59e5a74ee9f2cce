/**
 * The bundles of placement groups that the node keeps, from PrepareBundles to BundlesReturned. What a group has here since one epoch comes and goes
 * together. Amounts are the head's business: here it is only known which bundles there are, and which leases are in them.
 *
 *     prepareBundles ──> prepared ──commitBundles──> committed
 *          └─ refused        └──────returnBundles───────┴──> returning (its leases end) ──> gone
 */
import { makeError } from '@muster/base';
import { failureToMessage, type BundleRef, type CommitBundles, type NodeToHead, type PrepareBundles, type ReturnBundles } from '@muster/protocol';

/** The head never places more on one node: each group that is here has at least one lease's worth of it. */
const SHARES_MAX = 10_000;

/** What one group has here since one epoch. */
interface Share {
  readonly groupId: string;
  readonly epoch: number;
  readonly indices: ReadonlySet<number>;
  readonly leaseIds: Set<string>;
  state: 'prepared' | 'committed' | 'returning';
}

type ShareId = Pick<Share, 'groupId' | 'epoch'>;

/** All bundles that the head has placed here. */
export class BundleTable {
  readonly #gpuCount: number;
  readonly #send: (message: NodeToHead) => void;
  readonly #shares = new Map<string, Share>();

  constructor(options: { readonly gpuCount: number; readonly send: (message: NodeToHead) => void }) {
    this.#gpuCount = options.gpuCount;
    this.#send = options.send;
  }

  prepare({ groupId, epoch, bundles }: PrepareBundles): void {
    const known = this.#shares.get(keyOf({ groupId, epoch }));
    if (known?.state === 'returning') return; // answered by bundlesReturned
    const refusal = known !== undefined ? null : this.#refusalOf(bundles.flatMap(({ gpuIds }) => gpuIds));
    if (!known && refusal === null) {
      this.#shares.set(keyOf({ groupId, epoch }), { groupId, epoch, indices: new Set(bundles.map(({ index }) => index)), leaseIds: new Set(), state: 'prepared' });
    }
    const failure = refusal === null ? null : failureToMessage(makeError('UNSCHEDULABLE', { what: `the bundles of ${groupId}`, reasons: refusal }));
    this.#send({ type: 'bundlesPrepared', groupId, epoch, failure });
  }

  commit(message: CommitBundles): void {
    const share = this.#shares.get(keyOf(message));
    if (share?.state === 'prepared') share.state = 'committed';
  }

  /** To be called when the end of all {@link leasesIn} them has begun. */
  return(message: ReturnBundles): void {
    const share = this.#shares.get(keyOf(message));
    if (!share) return this.#send({ type: 'bundlesReturned', groupId: message.groupId, epoch: message.epoch });
    share.state = 'returning';
    this.#settle(share);
  }

  leasesIn(id: ShareId): readonly string[] {
    return [...(this.#shares.get(keyOf(id))?.leaseIds ?? [])];
  }

  /** A lease starts in a bundle. Returns why it may not; null when it may. */
  enter(bundle: BundleRef, leaseId: string): string | null {
    const share = this.#shares.get(keyOf(bundle));
    if (share?.state !== 'committed' || !share.indices.has(bundle.index)) return `the node keeps no bundle ${bundle.index} for ${bundle.groupId}`;
    share.leaseIds.add(leaseId);
    return null;
  }

  leave(bundle: BundleRef, leaseId: string): void {
    const share = this.#shares.get(keyOf(bundle));
    if (share?.leaseIds.delete(leaseId)) this.#settle(share);
  }

  #refusalOf(gpuIds: readonly number[]): string | null {
    const missing = gpuIds.filter((id) => id >= this.#gpuCount);
    if (missing.length > 0) return `they were given the GPUs ${missing.join(', ')} of a node that has ${this.#gpuCount}`;
    return this.#shares.size < SHARES_MAX ? null : `the node keeps bundles of ${SHARES_MAX} groups, the most it may`;
  }

  #settle(share: Share): void {
    if (share.state !== 'returning' || share.leaseIds.size > 0) return;
    this.#shares.delete(keyOf(share));
    this.#send({ type: 'bundlesReturned', groupId: share.groupId, epoch: share.epoch });
  }
}

const keyOf = ({ groupId, epoch }: ShareId): string => `${groupId} ${epoch}`;
