/** The token of a cluster that runs already. */
import { readFileSync } from 'node:fs';
import { makeError, type NodeFile } from '@muster/base';

/** The cluster's token, from the file MUSTER_TOKEN_FILE, or that of a node on this machine. @throws AuthenticationError */
export function readToken(node: NodeFile | undefined): string {
  const file = process.env['MUSTER_TOKEN_FILE'] || node?.tokenFile;
  if (!file) throw makeError('AUTHENTICATION', { what: 'the cluster', cause: 'no token is known here' });
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw makeError('AUTHENTICATION', { what: 'the cluster', cause: `the token file cannot be read (${(cause as Error).message})` }, { cause });
  }
}
