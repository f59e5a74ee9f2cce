/** `cluster token`: where the token is, for copying it to another machine. */
import type { Command } from 'commander';
import { findCluster, type ClusterOptions } from '../cluster/connection.js';
import { printText, withClusterOptions, withExamples } from './cluster-options.js';

export function define(command: Command): void {
  withClusterOptions(command).action(async (options: ClusterOptions) => printText((await findCluster(options)).tokenFile));
  withExamples(command, 'cluster token', 'scp "$(cluster token)" other-machine:token');
}
