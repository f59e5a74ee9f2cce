/** Which bundles of placement groups the nodes really keep, as nobody in the cluster sees it: groups are whole or absent, and no more is kept than there is. */
import { addResources, fits, formatResources, type ResourceSet } from '@muster/base';
import type { BundleRef, PrepareBundles } from '@muster/protocol';
import { Violation } from './violation.js';

/** `pg-1 2 0`: a bundle of one epoch. */
export const keyOf = ({ groupId, epoch, index }: Pick<BundleRef, 'groupId' | 'epoch' | 'index'>): string => `${groupId} ${epoch} ${index}`;

interface GroupRecord {
  readonly bundles: readonly ResourceSet[];
  /** Those that some node has said to keep, ever. */
  readonly prepared: Set<number>;
}

/** The record of one simulation's groups. */
export class BundleLedger {
  readonly #groups = new Map<string, GroupRecord>();
  /** What each node keeps, by bundle. */
  readonly #kept = new Map<string, Map<string, ResourceSet>>();

  groupCreated(groupId: string, bundles: readonly ResourceSet[]): void {
    this.#groups.set(groupId, { bundles, prepared: new Set() });
  }

  /** A node has said that it keeps them. */
  prepared(nodeId: string, { groupId, epoch, bundles }: PrepareBundles): void {
    const group = this.#groups.get(groupId)!;
    const kept = this.#kept.get(nodeId) ?? new Map<string, ResourceSet>();
    this.#kept.set(nodeId, kept);
    for (const { index } of bundles) {
      group.prepared.add(index);
      kept.set(keyOf({ groupId, epoch, index }), group.bundles[index]!);
    }
  }

  /** A node is told that the group is there: all of its bundles are, or were when it came to be. */
  committing(groupId: string): void {
    const { bundles, prepared } = this.#groups.get(groupId)!;
    if (prepared.size < bundles.length) throw new Violation(`${groupId} was committed when nodes kept ${prepared.size} of its ${bundles.length} bundles`);
  }

  /** A node has said that it keeps nothing of this epoch any more. */
  returned(nodeId: string, { groupId, epoch }: { readonly groupId: string; readonly epoch: number }): void {
    const kept = this.#kept.get(nodeId);
    for (const key of kept?.keys() ?? []) if (key.startsWith(`${groupId} ${epoch} `)) kept!.delete(key);
  }

  nodeGone(nodeId: string): void {
    this.#kept.delete(nodeId);
  }

  /** What the node keeps for groups, used or not. */
  heldOn(nodeId: string): ResourceSet {
    return [...(this.#kept.get(nodeId)?.values() ?? [])].reduce<ResourceSet>((sum, bundle) => addResources(sum, bundle), {});
  }

  keptOn(nodeId: string): readonly string[] {
    return [...(this.#kept.get(nodeId)?.keys() ?? [])];
  }

  /** So much of the bundle is in use. */
  checkUse(nodeId: string, key: string, inUse: ResourceSet): void {
    const bundle = this.#kept.get(nodeId)?.get(key);
    if (bundle === undefined) throw new Violation(`${nodeId} runs tasks in the bundle ${key}, which it does not keep`);
    if (!fits(bundle, inUse)) throw new Violation(`the bundle ${key} on ${nodeId} has ${formatResources(bundle)}, and ${formatResources(inUse)} is in use`);
  }
}
