/** What the cluster consists of, for programs that fit themselves to it. */
import { requireSession } from './current.js';

/** A node that is part of the cluster. */
export interface NodeInfo {
  readonly nodeId: string;
  /** A draining one takes no more work; of an unreachable one nothing has been heard for a while. */
  readonly state: 'alive' | 'draining' | 'unreachable';
  /** Amounts by resource name, such as `cpu` and `gpu`; `memory` in bytes. */
  readonly total: Readonly<Record<string, number>>;
  /** What nobody holds now. */
  readonly available: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * The cluster's nodes, dead ones left out. The head answers from its tables: ask some times a second at most, not for every task.
 * @throws MusterError CONNECTION, NOT_CONNECTED
 */
export async function nodes(): Promise<readonly NodeInfo[]> {
  const session = requireSession();
  await session.ready;
  const { rows } = (await session.waiting(session.head.query('list', { kind: 'nodes' }))) as { readonly rows: readonly NodeRow[] };
  return rows.flatMap(({ nodeId, state, total, available, labels }) => (state === 'dead' ? [] : [{ nodeId, state, total, available, labels }]));
}

/** As the head answers. */
type NodeRow = Omit<NodeInfo, 'state'> & { readonly state: NodeInfo['state'] | 'dead' };
