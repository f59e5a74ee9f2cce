/** The conversations of the cluster, by method name, and how their messages look in a trace. */
import { formatResources, type ResourceSet } from '@muster/base';
import {
  ByteReader, codec, framePayload, OwnerOp, WorkerOp,
  type BorrowerToOwner, type Chunk, type ClientToHead, type Codec, type Empty, type FreeRequest, type HeadToClient, type HeadToNode, type NodeToHead,
  type OwnerToBorrower, type PullRequest, type StoreReply, type StoreRequest,
} from '@muster/protocol';

/** Every conversation is a stream here; a request with one answer is a short one. */
export interface Methods {
  'Head.Node': { request: NodeToHead; reply: HeadToNode };
  'Head.Client': { request: ClientToHead; reply: HeadToClient };
  'Daemon.Store': { request: StoreRequest; reply: StoreReply };
  'Daemon.Pull': { request: PullRequest; reply: Chunk };
  'Daemon.Free': { request: FreeRequest; reply: Empty };
  'Peer.Objects': { request: BorrowerToOwner; reply: OwnerToBorrower };
  'Peer.Tasks': { request: Uint8Array; reply: Uint8Array };
}

const NAMES = {
  'Head.Node': ['NodeToHead', 'HeadToNode'], 'Head.Client': ['ClientToHead', 'HeadToClient'], 'Daemon.Store': ['StoreRequest', 'StoreReply'],
  'Daemon.Pull': ['PullRequest', 'Chunk'], 'Daemon.Free': ['FreeRequest', 'Empty'], 'Peer.Objects': ['BorrowerToOwner', 'OwnerToBorrower'],
} as const satisfies Record<Exclude<keyof Methods, 'Peer.Tasks'>, readonly [string, string]>;

/** The message as its receiver gets it: encoded and decoded, as on a real wire. Task frames are bytes already. */
export function overTheWire<Message>(method: keyof Methods, isRequest: boolean, message: Message): Message {
  if (method === 'Peer.Tasks') return message;
  const wire = codec(NAMES[method][isRequest ? 0 : 1]) as unknown as Codec<Message>;
  return wire.decode(wire.encode(message));
}

/** One line for a trace: the message's type and what is short in it. */
export function describeMessage(method: keyof Methods, isRequest: boolean, message: unknown): string {
  if (method === 'Peer.Tasks') return describeFrame(message as Uint8Array, isRequest);
  const { type, ...fields } = message as { type?: string } & Record<string, unknown>;
  let text = type ?? method;
  for (const key in fields) text += describeField(key, fields[key]);
  return text;
}

function describeField(key: string, value: unknown): string {
  switch (typeof value) {
    case 'string': return value === '' || key === 'json' ? '' : ` ${key}=${value}`;
    case 'number': return value === 0 ? '' : ` ${key}=${value}`;
    case 'boolean': return value ? ` ${key}` : '';
    case 'object': return value === null ? '' : describeObject(key, value as Record<string, unknown>);
    default: return '';
  }
}

function describeObject(key: string, value: Record<string, unknown>): string {
  if (value instanceof Uint8Array) return '';
  if (Array.isArray(value)) return typeof value[0] === 'string' ? ` ${key}=${value.join(',')}` : '';
  if ('amounts' in value) return ` ${key}=[${formatResources(value['amounts'] as ResourceSet)}]`;
  if ('resources' in value) return describeField('demand', value['resources']);
  if ('kind' in value) return ` ${key}=${String(value['kind'])}`;
  if ('code' in value) return ` ${key}=${String(value['code'])}`;
  return '';
}

/** Records of a frame that are named; a frame may hold thousands. */
const RECORDS_NAMED_MAX = 6;
const OWNER_OPS = new Map(Object.entries(OwnerOp).map(([name, op]) => [op as number, name]));
const WORKER_OPS = new Map(Object.entries(WorkerOp).map(([name, op]) => [op as number, name]));

function describeFrame(frame: Uint8Array, isRequest: boolean): string {
  const reader = new ByteReader().reset(framePayload(frame));
  const names: string[] = [];
  let count = 0;
  for (; reader.position < reader.end; count++) {
    const end = reader.u32() + reader.position;
    if (count < RECORDS_NAMED_MAX) {
      const op = reader.u8();
      const hasSlot = reader.position + 4 <= end && (isRequest ? op !== OwnerOp.define : op !== WorkerOp.stats);
      names.push(`${(isRequest ? OWNER_OPS : WORKER_OPS).get(op) ?? op}${hasSlot ? ` ${reader.u32()}` : ''}`);
    }
    reader.position = end;
  }
  return `frame ${names.join(', ')}${count > names.length ? `, and ${count - names.length} more` : ''}`;
}
