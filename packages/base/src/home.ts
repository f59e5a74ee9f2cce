/** The folder on this machine where its nodes meet: sockets, logs, and a file for each running node. */
import { chmodSync, lstatSync, mkdirSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { makeError } from './errors.js';

/** The longest path that a unix socket may have on every system, less room for a process id. */
const HOME_PATH_MAX = 60;

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

/**
 * The home folder: MUSTER_HOME, or one for this user under the system's temp folder. Made when it is absent, readable by its owner only.
 * @throws MusterError INVALID_ARGUMENT when it belongs to somebody else or its path is too long for sockets
 */
export function musterHome(): string {
  const uid = userInfo().uid;
  const home = process.env['MUSTER_HOME'] || join(tmpdir(), `muster-${uid}`);
  if (home.length > HOME_PATH_MAX) throw makeError('INVALID_ARGUMENT', { what: `MUSTER_HOME=${home}`, want: `at most ${HOME_PATH_MAX} characters, because unix sockets lie in it` });
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const stat = lstatSync(home);
  if (!stat.isDirectory() || stat.uid !== uid) throw makeError('INVALID_ARGUMENT', { what: `the folder ${home}`, want: 'a folder of your own; set MUSTER_HOME to another one' });
  if ((stat.mode & 0o077) !== 0) chmodSync(home, 0o700);
  return home;
}
