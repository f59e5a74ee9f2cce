/**
 * How ranks on several nodes find each other: each writes where it listens into the job's key-value store and reads where the others do. From then on each
 * hears from the head when one on another node has died, also where its connections stay silent.
 */
import { keyValues, peering, watchProcess } from '@muster/core';
import { MusterError } from '@muster/base';
import { Communicator as NativeCommunicator, type RankPlace } from '@muster/native';
import { invalid } from './elements.js';
import { ownAddress } from './interfaces.js';

/** What a rank tells the others. */
interface Card {
  readonly host: string;
  readonly port: number;
  /** The name of its node. */
  readonly node: string;
  readonly processId: string;
  readonly tls: boolean;
}

export interface MeetingOptions {
  readonly id: string;
  readonly rank: number;
  readonly size: number;
  readonly timeoutMs: number;
  readonly node: string;
  readonly interfaces: readonly string[] | undefined;
  readonly tls: boolean;
}

export interface Meeting {
  readonly communicator: NativeCommunicator;
  /** Has the deaths of others mean nothing to the communicator any more. */
  readonly leave: () => void;
}

/**
 * Meets the ranks of all nodes. When all have met, what they wrote is forgotten.
 * @throws MusterError INVALID_ARGUMENT; TIMEOUT when a rank writes nothing in time; native errors
 */
export async function meet({ id, rank, size, timeoutMs, node, interfaces, tls }: MeetingOptions): Promise<Meeting> {
  const deadlineMs = performance.now() + timeoutMs;
  const { host: nodeHost, key, processId } = await peering('collective');
  const host = await ownAddress(interfaces, nodeHost);
  const listener = NativeCommunicator.listen(host);
  const store = keyValues(`collective ${id}`);
  await store.put(String(rank), JSON.stringify({ host, port: listener.port, node, processId, tls } satisfies Card));
  const cards: Card[] = [];
  for (let other = 0; other < size; other++) cards.push(await readCard(store.wait(String(other), { timeoutMs: leftMs(deadlineMs) }), other, id));
  const different = cards.findIndex((card) => card.tls !== tls);
  if (different >= 0) throw invalid(`tls: ${tls} of rank ${rank}`, `the same at all ranks, and rank ${different} has tls: ${!tls}`);
  const ranks = places(cards);
  const deaths = new Deaths(cards, node, id);
  let communicator: NativeCommunicator | null = null;
  try {
    communicator = await deaths.orOne(NativeCommunicator.connect(id, rank, size, leftMs(deadlineMs), listener, key, ranks, tls));
    if (rank === 0) await store.clear();
    return { communicator, leave: () => deaths.leave() };
  } catch (error) {
    communicator?.close(); // or the others would wait for a rank that nobody has
    deaths.leave();
    throw error;
  }
}

/** Of the ranks on other nodes. Those on one node notice each other's by themselves. */
class Deaths {
  readonly #watches: (() => void)[];
  /** While it is not there, the first to die is remembered. */
  #communicator: WeakRef<NativeCommunicator> | null = null;
  #failMeeting: (error: Error) => void = () => {};
  readonly #meetingFailed = new Promise<never>((_, reject) => { this.#failMeeting = reject; });

  constructor(cards: readonly Card[], ownNode: string, id: string) {
    this.#meetingFailed.catch(() => {}); // nobody waits for it once all have met
    this.#watches = cards.flatMap(({ processId, node }, rank) => (node === ownNode ? [] : [watchProcess(processId, (cause) => this.#died(rank, `its process ${processId} ${cause}`, id))]));
  }

  /** The communicator that is being opened; or the error of a rank that dies before it is. */
  async orOne(opening: Promise<NativeCommunicator>): Promise<NativeCommunicator> {
    try {
      const communicator = await Promise.race([opening, this.#meetingFailed]);
      this.#communicator = new WeakRef(communicator);
      return communicator;
    } catch (error) {
      opening.then((late) => late.close(), () => {});
      throw error;
    }
  }

  leave(): void {
    for (const stop of this.#watches) stop();
  }

  #died(rank: number, cause: string, id: string): void {
    this.#communicator?.deref()?.blame(rank, cause);
    this.#failMeeting(Object.assign(new Error(`rank ${rank} is lost to the communicator '${id}': ${cause}`), { code: 'ERR_RANK_GONE', rank }));
  }
}

/** The store's limit is no rank's fault; a rank that never wrote is. */
async function readCard(value: Promise<Uint8Array>, rank: number, id: string): Promise<Card> {
  try {
    return JSON.parse(new TextDecoder().decode(await value)) as Card;
  } catch (error) {
    if (!(error instanceof MusterError) || error.code !== 'TIMEOUT') throw error;
    throw Object.assign(new Error(`rank ${rank} has not come to the communicator '${id}' in time`, { cause: error }), { code: 'ERR_RANK_TIMED_OUT', rank });
  }
}

const leftMs = (deadlineMs: number): number => Math.max(1, Math.ceil(deadlineMs - performance.now()));

/** Nodes are counted in the order of their lowest ranks. @throws MusterError INVALID_ARGUMENT */
function places(cards: readonly Card[]): RankPlace[] {
  const nodes: string[] = [];
  return cards.map(({ host, port, node }, rank) => {
    if (node !== nodes.at(-1)) {
      if (nodes.includes(node)) throw invalid(`rank ${rank} on the node ${node}`, 'next to the other ranks there: the ranks of a node follow each other');
      nodes.push(node);
    }
    return [host, port, nodes.length - 1];
  });
}
