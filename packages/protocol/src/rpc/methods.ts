/** The gRPC methods of all services, by name, with the messages of each direction. */
import type {
  BorrowerToOwner, Chunk, ClientToHead, Empty, FreeRequest, HeadToClient, HeadToNode, NodeToHead, OwnerToBorrower, PullRequest,
  QueryReply, QueryRequest, StoreReply, StoreRequest,
} from '../generated/messages.js';
import { codec, type Codec } from '../codec.js';

/** Both sides stream. */
export interface DuplexMethods {
  'Head.Node': { request: NodeToHead; reply: HeadToNode };
  'Head.Client': { request: ClientToHead; reply: HeadToClient };
  'Daemon.Store': { request: StoreRequest; reply: StoreReply };
  'Peer.Objects': { request: BorrowerToOwner; reply: OwnerToBorrower };
  /** Task frames, already in protobuf framing: see frame/. */
  'Peer.Tasks': { request: Uint8Array; reply: Uint8Array };
}

/** One request, one reply. */
export interface UnaryMethods {
  'Head.Query': { request: QueryRequest; reply: QueryReply };
  'Daemon.Free': { request: FreeRequest; reply: Empty };
}

/** One request, a stream of replies. */
export interface DownloadMethods {
  'Daemon.Pull': { request: PullRequest; reply: Chunk };
}

export type AllMethods = DuplexMethods & UnaryMethods & DownloadMethods;

/** Streams in both directions: of messages, which travel in batches, or of frames, which are batches of another kind. */
export type StreamShape = 'duplex' | 'frames';

interface Method {
  readonly shape: StreamShape | 'unary' | 'download';
  readonly request: Codec<never>;
  readonly reply: Codec<never>;
}

interface StreamMethod extends Method {
  readonly shape: StreamShape;
}

const raw: Codec<Uint8Array> = { encode: (bytes) => bytes, decode: (bytes) => bytes };

function method<Shape extends Method['shape']>(shape: Shape, request: () => Codec<unknown>, reply: () => Codec<unknown>): Method & { readonly shape: Shape } {
  // Built on first use: no process speaks all of them.
  return { shape, get request() { return request() as Codec<never>; }, get reply() { return reply() as Codec<never>; } };
}

export const METHODS: Readonly<Record<keyof DuplexMethods, StreamMethod> & Record<keyof AllMethods, Method>> = {
  'Head.Node': method('duplex', () => codec('NodeToHead'), () => codec('HeadToNode')),
  'Head.Client': method('duplex', () => codec('ClientToHead'), () => codec('HeadToClient')),
  'Head.Query': method('unary', () => codec('QueryRequest'), () => codec('QueryReply')),
  'Daemon.Store': method('duplex', () => codec('StoreRequest'), () => codec('StoreReply')),
  'Daemon.Pull': method('download', () => codec('PullRequest'), () => codec('Chunk')),
  'Daemon.Free': method('unary', () => codec('FreeRequest'), () => codec('Empty')),
  'Peer.Tasks': method('frames', () => raw, () => raw),
  'Peer.Objects': method('duplex', () => codec('BorrowerToOwner'), () => codec('OwnerToBorrower')),
};

export const methodPath = (name: keyof AllMethods): string => `/muster.v1.${name.replace('.', '/')}`;

/** Methods that are served by processes without users' code: these look at their connections all the time. */
export const hasPromptServer = (name: keyof AllMethods): boolean => !name.startsWith('Peer.');

/** Paths of the methods that such processes call. */
export const PROMPT_CALLER_PATHS: ReadonlySet<string> = new Set((['Head.Node', 'Head.Query', 'Daemon.Pull', 'Daemon.Free'] as const).map(methodPath));

export const isDuplex = (method: Method): method is StreamMethod => method.shape === 'duplex' || method.shape === 'frames';
