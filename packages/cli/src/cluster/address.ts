/** Addresses as people write them. */
import { makeError } from '@muster/base';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Reads `host:port` or `[::1]:port`. @throws MusterError INVALID_ARGUMENT */
export function parseAddress(address: string): HostPort {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]\s/]+)):(\d{1,5})$/i.exec(address);
  const port = Number(match?.[3]);
  if (!match || port < 1 || port > 65_535) throw makeError('INVALID_ARGUMENT', { what: `the address '${address}'`, want: 'HOST:PORT, such as 10.0.0.5:6380' });
  return { host: match[1] ?? match[2]!, port };
}

export function formatAddress({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Whether a server that listens on it can be reached under every address of its machine. */
export const isWildcard = (host: string): boolean => host === '0.0.0.0' || host === '::';
