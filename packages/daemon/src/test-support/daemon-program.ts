/** A daemon in a process of its own, for tests that kill it. Reads its options from the first line of stdin and says when it is ready. */
import { createInterface } from 'node:readline';
import { startDaemon, type DaemonOptions } from '../io/daemon.js';

const ignore = (): void => {};
const logger = { debug: ignore, info: ignore, warn: ignore, error: ignore };
createInterface({ input: process.stdin }).once('line', (line) => void startDaemon({ ...(JSON.parse(line) as DaemonOptions), logger }).then(
  ({ nodeId, folder }) => process.stdout.write(`${JSON.stringify({ nodeId, folder })}\n`)));
