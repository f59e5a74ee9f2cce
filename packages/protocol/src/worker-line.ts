/** What a daemon tells a worker that it starts. */
import type { ProcessId } from '@muster/base';

/** One line of JSON on the worker's stdin, where no other process can read the token. */
export interface WorkerLine {
  readonly workerId: ProcessId;
  readonly nodeId: string;
  readonly token: string;
  readonly daemonUnixPath: string;
  readonly headTarget: string;
  readonly nodeFolder: string;
  /** The address for TCP; empty: unix sockets only. */
  readonly host: string;
  /** Where the worker counts the tasks that it begins, so that the daemon knows it when the worker has died: an f64 in the arena; -1: nowhere. */
  readonly arenaPath: string;
  readonly progressOffset: number;
}
