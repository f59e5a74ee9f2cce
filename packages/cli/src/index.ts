/** @muster/cli: the `cluster` command. Programs start it as a process; see bin/cluster.mjs. */
export { runCommandLine } from './main.js';
