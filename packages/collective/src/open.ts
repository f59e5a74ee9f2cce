/** How ranks come to have a communicator. */
import { Communicator as NativeCommunicator } from '@muster/native';
import { Communicator } from './communicator.js';
import { invalid } from './elements.js';
import { userError } from './failure.js';
import { meet } from './rendezvous.js';

const TIMEOUT_MS = 30_000;
/** What setTimeout takes, too: 24 days. */
const TIMEOUT_MAX_MS = 2 ** 31 - 1;
/** The native core's limit: see MUSTER_RANKS_MAX. */
const SIZE_MAX = 128;
const ID = /^[\w.-]{1,128}$/;

export interface CommunicatorOptions {
  /** Agreed on among the ranks and used once: 1 to 128 letters, digits, dots, hyphens and underscores; 120 of them with `node`. */
  readonly id: string;
  /** From 0 to size - 1. */
  readonly rank: number;
  /** 1 to 128 ranks, all on one node unless each says on which. */
  readonly size: number;
  /** The name of this rank's node, as `context().nodeId`: ranks meet through the cluster then. Those of one node follow each other. */
  readonly node?: string;
  /** How long a call waits for another rank before it fails at all of them; 30 s unless told otherwise. */
  readonly timeoutMs?: number;
  /** As {@link CollectiveOptions.interfaces} */
  readonly interfaces?: readonly string[];
  /** As {@link CollectiveOptions.tls} */
  readonly tls?: boolean;
  /** Has the message about ranks that make different calls name both places in users' code; costs about 20 us a call. False unless told otherwise. */
  readonly debug?: boolean;
}

/** What {@link collective} wants to know of a gang: `context().gang` has it. */
export interface GangPlace {
  readonly gangId: string;
  readonly rank: number;
  readonly size: number;
  readonly nodeRank: number;
  readonly nodeCount: number;
  /** Counts the starts of the gang: each has communicators of its own. */
  readonly incarnation: number;
}

export interface CollectiveOptions {
  /** Tells several communicators of a gang apart; 'default' unless told otherwise. */
  readonly name?: string;
  /** Which of the gang's ranks take part, in ascending order: their places here are their ranks. All unless told otherwise; others do not call. */
  readonly ranks?: readonly number[];
  /** As {@link CommunicatorOptions.timeoutMs} */
  readonly timeoutMs?: number;
  /**
   * By which other nodes reach this one: names such as 'eth0' or networks such as '10.0.0.0/8', of which the first that this machine has
   * counts. Default: the address by which the node talks to the head.
   */
  readonly interfaces?: readonly string[];
  /**
   * Whether connections between nodes are encrypted, with TLS 1.3 and keys made from the cluster's token; false unless told otherwise. The same at all
   * ranks. Inside a node there are no connections.
   */
  readonly tls?: boolean;
  /** As {@link CommunicatorOptions.debug} */
  readonly debug?: boolean;
}

/**
 * A communicator of ranks that have agreed on an id. Resolves when all of them are there.
 * @throws MusterError INVALID_ARGUMENT; CollectiveError when a rank does not come in time, comes twice or dies.
 */
export async function createCommunicator({ id, rank, size, node, timeoutMs = TIMEOUT_MS, interfaces, tls = false, debug = false }: CommunicatorOptions): Promise<Communicator> {
  if (typeof id !== 'string' || !ID.test(id)) throw invalid(`the communicator's id '${String(id)}'`, '1 to 128 letters, digits, dots, hyphens and underscores');
  if (!isIntegerIn(size, 1, SIZE_MAX)) throw invalid(`the size ${String(size)}`, `an integer from 1 to ${SIZE_MAX}`);
  if (!isIntegerIn(rank, 0, size - 1)) throw invalid(`the rank ${String(rank)}`, `an integer from 0 to ${size - 1}`);
  if (typeof tls !== 'boolean') throw invalid(`tls: ${String(tls)}`, 'true or false');
  if (!isIntegerIn(timeoutMs, 1, TIMEOUT_MAX_MS)) throw invalid(`the timeoutMs ${String(timeoutMs)}`, 'an integer from 1 to 2^31 - 1');
  try {
    if (node === undefined) return new Communicator(await NativeCommunicator.open(id, rank, size, timeoutMs), { id, rank, size, debug });
    const { communicator, leave } = await meet({ id, rank, size, timeoutMs, node, interfaces, tls });
    return new Communicator(communicator, { id, rank, size, debug }, leave);
  } catch (error) {
    throw userError(error, id);
  }
}

/**
 * The communicator of a gang's members, or of some of them, which all call this, on however many nodes they are. Once per name and start of the gang.
 * @throws as {@link createCommunicator}; MusterError INVALID_ARGUMENT outside of a gang, and of `ranks`.
 */
export async function collective(gang: GangPlace | undefined, { name = 'default', ranks, timeoutMs, interfaces, tls, debug }: CollectiveOptions = {}): Promise<Communicator> {
  if (gang === undefined) throw invalid('the gang of a communicator', 'context().gang of a member: this code runs in none');
  const { rank, size } = ranks === undefined ? gang : placeAmong(ranks, gang);
  const place = gang.nodeCount === 1 ? {} : { node: String(gang.nodeRank), interfaces, tls };
  return createCommunicator({ id: `${gang.gangId}.${gang.incarnation}.${name}`, rank, size, timeoutMs, debug, ...place });
}

/** @throws MusterError INVALID_ARGUMENT */
function placeAmong(ranks: readonly number[], gang: GangPlace): { readonly rank: number; readonly size: number } {
  const isAscending = ranks.every((rank, place) => isIntegerIn(rank, 0, gang.size - 1) && (place === 0 || rank > ranks[place - 1]!));
  if (!isAscending) throw invalid(`the ranks ${ranks.join(', ')} of a communicator`, `different ones from 0 to ${gang.size - 1} in ascending order`);
  const rank = ranks.indexOf(gang.rank);
  if (rank < 0) throw invalid(`the ranks ${ranks.join(', ')} of a communicator`, `those that take part, of which ${gang.rank}, which calls, is none`);
  return { rank, size: ranks.length };
}

const isIntegerIn = (value: number, min: number, max: number): boolean => Number.isInteger(value) && value >= min && value <= max;
