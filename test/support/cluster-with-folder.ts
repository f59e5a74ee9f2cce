/** A cluster for a whole test file, and a folder for what its programs write. Both go when the file's tests are over. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { TestCluster } from './cluster.js';

export interface Folders {
  readonly root: string;
  /** The path of another folder in the root, which is not there yet. */
  readonly fresh: () => string;
}

/** Starts the cluster, connects this process to it, and makes the folder. */
export async function startClusterWithFolder(options: Parameters<typeof TestCluster.start>[0]): Promise<Folders> {
  const root = mkdtempSync(join(tmpdir(), 'muster-t-'));
  const cluster = await TestCluster.start(options);
  await cluster.connect();
  t.teardown(async () => {
    await cluster.stop();
    rmSync(root, { recursive: true, force: true });
  });
  let folders = 0;
  return { root, fresh: () => join(root, `run-${++folders}`) };
}
