/** Where processes listen, and how they are reached there. */
import type { Endpoint } from './generated/messages.js';

export const NO_ENDPOINT: Endpoint = { nodeId: '', unixPath: '', host: '', port: 0 };

/** The gRPC target of an endpoint: the unix socket for a peer on the same node, else TCP. */
export function targetOf(endpoint: Endpoint, ownNodeId: string): string {
  if (endpoint.unixPath && (endpoint.nodeId === ownNodeId || !endpoint.host)) return `unix:${endpoint.unixPath}`;
  return endpoint.host.includes(':') ? `[${endpoint.host}]:${endpoint.port}` : `${endpoint.host}:${endpoint.port}`;
}
