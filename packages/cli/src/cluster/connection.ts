/** The command line's connection to a head: which cluster is meant, what token it takes, questions and answers. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { isSameHead, localNodes, makeError, type NodeFile } from '@muster/base';
import type { Channel } from '@muster/protocol/rpc';
import { CommandFailure, EXIT, reportOf } from '../output/failure.js';
import { parseAddress } from './address.js';
import { byCluster, isOneProgramsOwn } from './local-nodes.js';

/** How long the head may take to answer. It gives others a second when it has to ask them. */
const QUERY_TIMEOUT_MS = 10_000;

export interface ClusterOptions {
  /** Default: MUSTER_ADDRESS, else the one cluster of which a node runs on this machine. */
  readonly address?: string;
  /** Default: MUSTER_TOKEN_FILE, else that of a node on this machine. */
  readonly tokenFile?: string;
}

/** A cluster and the way into it. */
export interface FoundCluster {
  readonly address: string;
  readonly tokenFile: string;
  /** Its nodes on this machine. */
  readonly nodes: readonly NodeFile[];
}

/** @throws CommandFailure when it is not clear which cluster is meant, or no token for it is known */
export async function findCluster(options: ClusterOptions): Promise<FoundCluster> {
  const nodes = await localNodes();
  const address = options.address ?? (process.env['MUSTER_ADDRESS'] || onlyCluster(nodes));
  checkAddress(address);
  const ownNodes = nodes.filter((node) => isSameHead(node.headAddress, address));
  const tokenFile = options.tokenFile ?? (process.env['MUSTER_TOKEN_FILE'] || ownNodes[0]?.tokenFile);
  if (!tokenFile) {
    throw new CommandFailure({
      what: `no token for the cluster at ${address} is known here`, exitCode: EXIT.authentication,
      remedy: 'Copy its file from a machine of that cluster, where `cluster token` prints the path, and name the copy with --token-file or MUSTER_TOKEN_FILE.',
    });
  }
  return { address, tokenFile: resolve(tokenFile), nodes: ownNodes };
}

function checkAddress(address: string): void {
  try {
    if (!address.startsWith('unix:')) parseAddress(address);
  } catch (cause) {
    throw new CommandFailure({ what: reportOf(cause).what, remedy: 'Correct --address or MUSTER_ADDRESS.', exitCode: EXIT.usage, cause });
  }
}

/** The address of the one cluster here. A program's own cluster counts only where there is no other. */
function onlyCluster(nodes: readonly NodeFile[]): string {
  const shared = byCluster(nodes.filter((node) => !isOneProgramsOwn(node)));
  const clusters = [...(shared.size > 0 ? shared : byCluster(nodes)).keys()];
  if (clusters.length === 1) return clusters[0]!;
  if (clusters.length === 0) {
    throw new CommandFailure({ what: 'no cluster runs on this machine', remedy: 'Start one with `cluster start --head`, or name one elsewhere with --address HOST:PORT.', exitCode: EXIT.unreachable });
  }
  throw new CommandFailure({
    what: `${clusters.length} clusters run on this machine: ${clusters.join(', ')}`, remedy: 'Say which one with --address or MUSTER_ADDRESS.', exitCode: EXIT.unreachable,
  });
}

/** @throws AuthenticationError */
export function readToken(tokenFile: string): string {
  try {
    return readFileSync(tokenFile, 'utf8').trim();
  } catch (cause) {
    throw makeError('AUTHENTICATION', { what: 'the cluster', cause: `the token file cannot be read (${(cause as Error).message})` }, { cause });
  }
}

/** An open connection. Close it, or the process stays. */
export class ClusterConnection {
  readonly cluster: FoundCluster;
  readonly #channel: Channel;

  constructor(cluster: FoundCluster, channel: Channel) {
    this.cluster = cluster;
    this.#channel = channel;
  }

  /** Asks the head; the answers' shapes are in @muster/head. @throws MusterError */
  async query<Answer>(what: string, args: Readonly<Record<string, string>> = {}, json = ''): Promise<Answer> {
    const reply = await this.#channel.request('Head.Query', { what, arguments: args, json }, QUERY_TIMEOUT_MS);
    if (reply.failure) throw (await import('@muster/protocol')).failureFromMessage(reply.failure);
    return JSON.parse(reply.json) as Answer;
  }

  close(): void {
    this.#channel.close();
  }
}

/** Connects, does the work, and closes the connection however the work ends. */
export async function withCluster<T>(options: ClusterOptions, work: (connection: ClusterConnection) => Promise<T>): Promise<T> {
  const cluster = await findCluster(options);
  const token = readToken(cluster.tokenFile);
  const { Channel } = await import('@muster/protocol/rpc'); // a tenth of a second, which `--help` and wrong usage need not wait for
  const connection = new ClusterConnection(cluster, new Channel({ target: cluster.address, token, peer: `the head at ${cluster.address}` }));
  try {
    return await work(connection);
  } finally {
    connection.close();
  }
}
