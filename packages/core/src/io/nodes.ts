/** The nodes that run on this machine, as their files tell. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeError, musterHome, type NodeFile } from '@muster/base';

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  try { // a zombie is dead, though nobody has collected it
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat[stat.lastIndexOf(')') + 2] !== 'Z';
  } catch {
    return true; // no /proc on this system
  }
}

/** A living node on this machine that belongs to the cluster with this head. */
export function findLocalNode(headAddress: string): NodeFile | undefined {
  const folder = join(musterHome(), 'nodes');
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return undefined;
  }
  for (const name of names.filter((file) => file.endsWith('.json')).sort()) {
    try {
      const node = JSON.parse(readFileSync(join(folder, name), 'utf8')) as NodeFile;
      if (node.headAddress === headAddress && isAlive(node.pid)) return node;
    } catch {
      continue; // being written, or being removed
    }
  }
  return undefined;
}

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
