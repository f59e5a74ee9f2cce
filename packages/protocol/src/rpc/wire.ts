/** What every connection has in common: limits, the token, the protocol's version, and how a failure crosses gRPC. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { Metadata, status, type ServiceError, type StatusObject } from '@grpc/grpc-js';
import { errorFromWire, errorToWire, makeError, MusterError, type ErrorCode } from '@muster/base';

/** Raised whenever a message changes its meaning. Both sides of a connection must agree. */
export const PROTOCOL_VERSION = 3;

/** The largest single message. Objects travel in chunks far below it; larger arguments go through shared memory. */
export const MESSAGE_MAX_BYTES = 64 * 2 ** 20;

/** Channel options of clients and servers. Retries are ours: gRPC's would hide a dead peer. */
export const CHANNEL_OPTIONS = {
  'grpc.max_receive_message_length': MESSAGE_MAX_BYTES,
  'grpc.max_send_message_length': MESSAGE_MAX_BYTES,
  'grpc-node.flow_control_window': 16 * 2 ** 20,
  'grpc.enable_retries': 0,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_http_proxy': 0,
  // Every conversation keeps a stream open; what has none is left over. The client lets go first: a request that met the server's end of the
  // connection would be refused, and connecting anew is cheap.
  'grpc.max_connection_idle_ms': 30_000,
  'grpc.client_idle_timeout_ms': 15_000,
} as const;

const CODE_KEY = 'muster-code';
const DETAILS_KEY = 'muster-details-bin';

export function requestMetadata(token: string, extra: Readonly<Record<string, string>> = {}): Metadata {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  metadata.set('muster-protocol', String(PROTOCOL_VERSION));
  for (const [key, value] of Object.entries(extra)) metadata.set(key, value);
  return metadata;
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** The failure of a request's credentials, or undefined when they are good. The token's comparison takes constant time. */
export function credentialsFailure(metadata: Metadata, token: string, self: string): MusterError | undefined {
  const given = String(metadata.get('authorization')[0] ?? '');
  if (!timingSafeEqual(digest(given), digest(`Bearer ${token}`))) {
    return makeError('AUTHENTICATION', { what: self, cause: given ? 'the token is not this cluster\'s' : 'no token was given' });
  }
  const version = String(metadata.get('muster-protocol')[0] ?? 'none');
  if (version !== String(PROTOCOL_VERSION)) {
    return makeError('VERSION_MISMATCH', { what: 'this process', theirs: version, ours: String(PROTOCOL_VERSION) });
  }
  return undefined;
}

const STATUS_OF: Partial<Record<ErrorCode, status>> = {
  AUTHENTICATION: status.UNAUTHENTICATED, VERSION_MISMATCH: status.FAILED_PRECONDITION, OBJECT_LOST: status.NOT_FOUND,
  INVALID_ARGUMENT: status.INVALID_ARGUMENT, PROTOCOL: status.INVALID_ARGUMENT,
};

/** A failure as a gRPC status; {@link failureFromStatus} makes it whole again on the other side. */
export function statusOfFailure(error: unknown): Partial<StatusObject> & { code: status; details: string } {
  const failure = error instanceof MusterError ? error : makeError('INTERNAL', { what: String((error as Error)?.message ?? error) });
  const metadata = new Metadata();
  const wire = errorToWire(failure);
  metadata.set(CODE_KEY, wire.code);
  metadata.set(DETAILS_KEY, Buffer.from(JSON.stringify(wire.details)));
  return { code: STATUS_OF[failure.code] ?? status.ABORTED, details: failure.code, metadata };
}

/** The system's words out of gRPC's: `No connection established. Last error: Error: connect ECONNREFUSED 127.0.0.1:1. Resolution note: `. */
const systemReason = (details: string): string => /Last error: (?:Error: )?(.+?)\. Resolution note:/.exec(details)?.[1] ?? details;

/** What a failed call means. `peer` names the other side for people. */
export function failureFromStatus(error: ServiceError, peer: string): MusterError {
  const code = error.metadata?.get(CODE_KEY)[0];
  if (typeof code === 'string') {
    const details = error.metadata.get(DETAILS_KEY)[0];
    return errorFromWire({ code, details: details ? JSON.parse(details.toString()) : {} });
  }
  if (error.code === status.RESOURCE_EXHAUSTED) return makeError('PROTOCOL', { what: peer, cause: error.details }, { cause: error });
  if (error.code === status.DEADLINE_EXCEEDED) return makeError('CONNECTION', { what: peer, cause: 'no answer in time' }, { cause: error });
  return makeError('CONNECTION', { what: peer, cause: systemReason(error.details) || 'the connection closed' }, { cause: error });
}
