/** The folder on this machine where its nodes meet: sockets, logs, and a file for each running node. */
import { lstatSync } from 'node:fs';
import { readdir, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { makeError } from './errors.js';
import { makeFolder } from './folders.js';

/** The longest path that a unix socket may have on every system, less room for a process id. */
const HOME_PATH_MAX_BYTES = 60;

/** What a running node says about itself in `<home>/nodes/<nodeId>.json`. */
export interface NodeFile {
  readonly nodeId: string;
  readonly pid: number;
  readonly isHead: boolean;
  /** `host:port`, or `unix:/path` when the cluster does not listen on TCP. */
  readonly headAddress: string;
  readonly daemonUnixPath: string;
  readonly arenaPath: string;
  readonly tokenFile: string;
  readonly startedAt: string;
}

/** What the mode of a folder gives to its group and to all others. */
const OTHERS_MODE = 0o077;

/**
 * The home folder: MUSTER_HOME, or one for this user under the system's temp folder. Made when it is absent, open to its owner only. One that
 * exists is taken as it is or refused: a folder that somebody else made, or opened to others on purpose, is not Muster's to change.
 * @throws MusterError INVALID_ARGUMENT when it cannot be made, belongs to somebody else, lets others in, or its path is too long for sockets
 */
export function musterHome(): string {
  const uid = userInfo().uid;
  const home = process.env['MUSTER_HOME'] || join(tmpdir(), `muster-${uid}`);
  const what = `Muster's home ${home}`;
  if (Buffer.byteLength(home) > HOME_PATH_MAX_BYTES) throw makeError('INVALID_ARGUMENT', { what, want: `a path of at most ${HOME_PATH_MAX_BYTES} bytes, because unix sockets lie in it; set MUSTER_HOME to a shorter one` });
  makeHome(home, what);
  const stat = lstatSync(home);
  if (!stat.isDirectory()) throw makeError('INVALID_ARGUMENT', { what, want: 'a folder itself, and no link to one; set MUSTER_HOME to one' });
  if (stat.uid !== uid) throw makeError('INVALID_ARGUMENT', { what, want: `a folder of your own, and it belongs to user ${stat.uid}; set MUSTER_HOME to another one` });
  if ((stat.mode & OTHERS_MODE) !== 0) {
    const mode = (stat.mode & 0o777).toString(8);
    throw makeError('INVALID_ARGUMENT', { what, want: `open to you alone, and its mode ${mode} lets others in; run \`chmod 700 ${home}\`, or set MUSTER_HOME to another folder` });
  }
  return home;
}

function makeHome(path: string, what: string): void {
  try {
    makeFolder(path, 0o700);
  } catch (cause) {
    throw makeError('INVALID_ARGUMENT', { what, want: `a folder that can be made here (${(cause as NodeJS.ErrnoException).code ?? (cause as Error).message}); set MUSTER_HOME to one` }, { cause });
  }
}

/** Removes the sockets of drivers that were killed: nobody listens there any more. */
export async function sweepDeadDrivers(home: string): Promise<void> {
  const names = (await readdir(home).catch(() => [])).filter((name) => /^driver-.*\.sock$/.test(name));
  await Promise.all(names.map(async (name) => {
    const path = join(home, name);
    if (!await isAbandoned(path)) return;
    await unlink(path).catch(() => {}); // somebody else sweeps, too
  }));
}

/** Whether a unix socket refuses connections. A busy driver does not: the kernel accepts for it. */
function isAbandoned(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(false);
    });
    probe.on('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}
