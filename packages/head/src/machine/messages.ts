/** What goes into the head's machine and what comes out. Streams are numbers that io hands out; no number is used twice. */
import type { MusterError } from '@muster/base';
import type { ClientToHead, HeadToClient, HeadToNode, NodeToHead, QueryReply, QueryRequest } from '@muster/protocol';

/** What happens to the head. */
export type HeadEvent =
  | { readonly type: 'nodeOpened'; readonly stream: number }
  | { readonly type: 'nodeMessage'; readonly stream: number; readonly message: NodeToHead }
  /** `orderly`: the daemon said goodbye. Otherwise it may come back on another stream. */
  | { readonly type: 'nodeClosed'; readonly stream: number; readonly orderly: boolean }
  | { readonly type: 'clientOpened'; readonly stream: number }
  | { readonly type: 'clientMessage'; readonly stream: number; readonly message: ClientToHead }
  | { readonly type: 'clientClosed'; readonly stream: number }
  | { readonly type: 'query'; readonly queryId: number; readonly request: QueryRequest }
  /** Sent every TICK_MS or so; every deadline is kept by it. */
  | { readonly type: 'tick' };

/** What the head does. */
export type HeadEffect =
  | { readonly type: 'sendToNode'; readonly stream: number; readonly message: HeadToNode }
  | { readonly type: 'sendToClient'; readonly stream: number; readonly message: HeadToClient }
  /** Everything sent before still arrives, unless there is a failure. The machine hears no more of the stream. */
  | { readonly type: 'closeNode'; readonly stream: number; readonly failure: MusterError | null }
  | { readonly type: 'closeClient'; readonly stream: number; readonly failure: MusterError | null }
  | { readonly type: 'answerQuery'; readonly queryId: number; readonly reply: QueryReply }
  | { readonly type: 'log'; readonly level: 'info' | 'warn'; readonly event: string; readonly fields: Readonly<Record<string, unknown>> }
  /** The cluster was told to stop, and all nodes have left or had their time. */
  | { readonly type: 'stop'; readonly reason: string };

/** How often io sends `tick`. */
export const TICK_MS = 50;
