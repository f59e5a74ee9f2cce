/** How ranks on several nodes find each other: each writes where it listens into the job's key-value store and reads where the others do. */
import { keyValues, peering } from '@muster/core';
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
}

export interface MeetingOptions {
  readonly id: string;
  readonly rank: number;
  readonly size: number;
  readonly timeoutMs: number;
  readonly node: string;
  readonly interfaces: readonly string[] | undefined;
}

/**
 * Meets the ranks of all nodes. When all have met, what they wrote is forgotten.
 * @throws MusterError INVALID_ARGUMENT; TIMEOUT when a rank writes nothing in time; native errors
 */
export async function meet({ id, rank, size, timeoutMs, node, interfaces }: MeetingOptions): Promise<NativeCommunicator> {
  const deadlineMs = performance.now() + timeoutMs;
  const { host: nodeHost, key } = await peering('collective');
  const host = await ownAddress(interfaces, nodeHost);
  const listener = NativeCommunicator.listen(host);
  const store = keyValues(`collective ${id}`);
  await store.put(String(rank), JSON.stringify({ host, port: listener.port, node } satisfies Card));
  const cards: Card[] = [];
  for (let other = 0; other < size; other++) cards.push(await readCard(store.wait(String(other), { timeoutMs: leftMs(deadlineMs) }), other, id));
  const communicator = await NativeCommunicator.connect(id, rank, size, leftMs(deadlineMs), listener, key, places(cards));
  if (rank === 0) await store.clear();
  return communicator;
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
