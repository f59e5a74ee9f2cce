/** Nodes that nothing is heard of. Until they are back or declared dead, all that is on them stands as it did, and nobody knows better. */
import { formatDurationMs } from '@muster/base';
import type { HeadContext } from '../machine/context.js';
import type { Node } from '../machine/nodes.js';

/** A heartbeat may be late. */
const HEARTBEATS_MISSED = 3;

/** What holds up all that is on a node: that it is silent. Nothing when it is not. */
export function explainSilence({ id, stream, lastHeardMs }: Node, { nowMs, settings: { heartbeatIntervalMs, nodeTimeoutMs } }: HeadContext): string[] {
  const silentMs = nowMs - lastHeardMs;
  if (stream !== null && silentMs < HEARTBEATS_MISSED * heartbeatIntervalMs) return [];
  return [`${id} ${stream === null ? 'is cut off, and ' : ''}has been silent for ${formatDurationMs(silentMs)}; it counts as lost after ${formatDurationMs(nodeTimeoutMs)}`];
}
