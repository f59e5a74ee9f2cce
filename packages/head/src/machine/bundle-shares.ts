/**
 * What groups have on nodes: held in the cluster at once, and agreed on with the daemons. Requests are repeated until they are answered, and all of them
 * when a node returns.
 */
import { failureFromMessage, type BundlesPrepared, type BundlesReturned, type HeadToNode } from '@muster/protocol';
import type { Holding, Placed } from '@muster/scheduler';
import type { HeadContext } from './context.js';
import type { Group, Share } from './group.js';
import { LEASE_RESEND_MS, PREPARE_PATIENCE_MS } from './limits.js';
import type { Node, Nodes } from './nodes.js';
import type { Queues } from './queues.js';

/** Hears what becomes of shares. */
export interface ShareListener {
  prepared(share: Share): void;
  /** The node has refused to keep it. The share is no longer the group's. */
  refused(share: Share, cause: string): void;
  /** The node was cut off before it had prepared. The share is no longer the group's. */
  cutOff(share: Share): void;
  /** Room is free that groups held. */
  roomReturned(): void;
}

/** The tables that shares stand in. */
interface ShareTables {
  readonly context: HeadContext;
  readonly nodes: Nodes;
  readonly queues: Queues;
}

/** All shares, from the plan until the daemon has returned them. */
export class BundleShares {
  readonly #context: HeadContext;
  readonly #nodes: Nodes;
  readonly #queues: Queues;
  readonly #listener: ShareListener;
  /** Those that wait for a daemon's answer. */
  readonly #unsettled = new Set<Share>();

  constructor({ context, nodes, queues }: ShareTables, listener: ShareListener) {
    this.#context = context;
    this.#nodes = nodes;
    this.#queues = queues;
    this.#listener = listener;
  }

  /** Holds all that is new in the plan, and asks the nodes to prepare. */
  prepare(group: Group, plan: readonly Placed[]): void {
    const epoch = ++group.epoch;
    const holdings = new Map<string, Map<number, Holding>>();
    plan.forEach(({ nodeId, gpuIds }, index) => {
      if (group.bundles[index] !== null) return;
      const holding: Holding = { resources: group.request.bundles[index]!.resources, gpuIds };
      const ofNode = holdings.get(nodeId);
      if (ofNode === undefined) holdings.set(nodeId, new Map([[index, holding]]));
      else ofNode.set(index, holding);
    });
    for (const [nodeId, ofNode] of holdings) this.#begin({ group, node: this.#nodes.byId.get(nodeId)!, epoch, holdings: ofNode, state: 'preparing', reason: '', sentAtMs: 0 });
  }

  /** All nodes have prepared: the group is there. */
  commit(share: Share): void {
    if (share.state !== 'prepared') return;
    share.state = 'committed';
    this.#request(share);
  }

  /** The group gives the share up. The node's room is free when its daemon has answered. */
  return(share: Share, reason: string): void {
    this.#leaveGroup(share);
    share.state = 'returning';
    share.reason = reason;
    this.#unsettled.add(share);
    this.#request(share);
  }

  /** A daemon answers. It must not keep what the head does not know. */
  prepared(node: Node, { groupId, epoch, failure }: BundlesPrepared): void {
    const share = node.shares.get(keyOf(groupId, epoch));
    if (share === undefined) {
      if (failure === null) this.#nodes.send(node, { type: 'returnBundles', groupId, epoch, reason: 'the head does not know these bundles' });
      return;
    }
    if (share.state !== 'preparing') return;
    this.#unsettled.delete(share);
    if (failure !== null) {
      this.#leaveGroup(share);
      this.#forget(share);
      return this.#listener.refused(share, String(failureFromMessage(failure).details['reasons']));
    }
    share.state = 'prepared';
    share.group.preparingCount--;
    this.#listener.prepared(share);
  }

  returned(node: Node, { groupId, epoch }: BundlesReturned): void {
    const share = node.shares.get(keyOf(groupId, epoch));
    if (share?.state !== 'returning') return;
    this.#forget(share);
    this.#listener.roomReturned();
  }

  /** What was there is gone with the node. Returns the groups that have lost bundles. */
  nodeLost(node: Node): ReadonlySet<Group> {
    const groups = new Set<Group>();
    for (const share of node.shares.values()) {
      this.#unsettled.delete(share);
      for (const { resources } of share.holdings.values()) this.#queues.release(share.group, resources);
      if (share.state === 'returning') continue;
      this.#leaveGroup(share);
      groups.add(share.group);
    }
    node.shares.clear();
    return groups;
  }

  /** Says everything to a node again that it may have missed. */
  repeat(node: Node): void {
    for (const share of node.shares.values()) this.#request(share);
  }

  /** Repeats what has not been answered for long, and goes elsewhere with what a node that is cut off was to prepare. */
  tick(): void {
    const { nowMs } = this.#context;
    for (const share of this.#unsettled) {
      if (share.state === 'preparing' && share.node.stream === null && nowMs - share.sentAtMs >= PREPARE_PATIENCE_MS) {
        this.return(share, 'the node was cut off before it had prepared them');
        this.#listener.cutOff(share);
      } else if (nowMs - share.sentAtMs >= LEASE_RESEND_MS) this.#request(share);
    }
  }

  #begin(share: Share): void {
    const { group, node, epoch, holdings } = share;
    for (const [index, holding] of holdings) {
      this.#nodes.holdBundle(node, holding);
      this.#queues.hold(group, holding.resources);
      group.bundles[index] = { share, holding };
    }
    group.shares.add(share);
    group.preparingCount++;
    node.shares.set(keyOf(group.id, epoch), share);
    this.#unsettled.add(share);
    this.#request(share);
  }

  #request(share: Share): void {
    share.sentAtMs = this.#context.nowMs;
    this.#nodes.send(share.node, requestOf(share));
  }

  #leaveGroup(share: Share): void {
    const { group } = share;
    if (!group.shares.delete(share)) return;
    if (share.state === 'preparing') group.preparingCount--;
    for (const index of share.holdings.keys()) group.bundles[index] = null;
  }

  #forget(share: Share): void {
    this.#unsettled.delete(share);
    share.node.shares.delete(keyOf(share.group.id, share.epoch));
    for (const holding of share.holdings.values()) {
      this.#queues.release(share.group, holding.resources);
      this.#nodes.releaseBundle(share.node, holding);
    }
  }
}

function requestOf({ group: { id: groupId }, epoch, holdings, state, reason }: Share): HeadToNode {
  switch (state) {
    case 'preparing':
    case 'prepared': return { type: 'prepareBundles', groupId, epoch, bundles: Array.from(holdings, ([index, { gpuIds }]) => ({ index, gpuIds })) };
    case 'committed': return { type: 'commitBundles', groupId, epoch };
    case 'returning': return { type: 'returnBundles', groupId, epoch, reason };
  }
}

const keyOf = (groupId: string, epoch: number): string => `${groupId} ${epoch}`;
