/** The nodes that run on this machine, as their files tell. */
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { musterHome, type NodeFile } from './home.js';

/** The living nodes of this user on this machine, heads first. Files of dead ones are left out. */
export async function localNodes(): Promise<NodeFile[]> {
  const files = readNodeFiles(join(musterHome(), 'nodes'));
  const isAlive = await Promise.all(files.map(async (node) => isRunning(node.pid) && await listens(node.daemonUnixPath)));
  return files.filter((_, index) => isAlive[index]).sort((a, b) => Number(b.isHead) - Number(a.isHead) || a.startedAt.localeCompare(b.startedAt));
}

function readNodeFiles(folder: string): NodeFile[] {
  let names: string[];
  try {
    names = readdirSync(folder).filter((name) => name.endsWith('.json')).sort();
  } catch {
    return []; // no node has ever run here
  }
  return names.flatMap((name) => {
    try {
      return [JSON.parse(readFileSync(join(folder, name), 'utf8')) as NodeFile];
    } catch {
      return []; // it ends at this moment
    }
  });
}

/** Whether there is such a process. One that has ended and that nobody has asked about is none. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.charAt(stat.lastIndexOf(')') + 2) !== 'Z';
  } catch {
    return true; // no such file on this system
  }
}

/** Whether somebody listens on a socket: a process may have the pid of a dead node. */
function listens(unixPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(unixPath);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Whether two addresses name one head: `localhost` is 127.0.0.1, where a head listens unless told otherwise. */
export const isSameHead = (one: string, other: string): boolean => withoutName(one) === withoutName(other);

const withoutName = (address: string): string => address.replace(/^localhost:/, '127.0.0.1:');
