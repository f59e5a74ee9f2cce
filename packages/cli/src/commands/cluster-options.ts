/** What every command takes that talks to a cluster. */
import type { Command } from 'commander';
import type { ClusterOptions } from '../cluster/connection.js';
import { EXIT_CODES_HELP } from '../output/failure.js';

/** Adds `--address` and `--token-file`. */
export function withClusterOptions(command: Command): Command {
  return command
    .option('--address <HOST:PORT>', 'the cluster\'s head (default: MUSTER_ADDRESS, else the cluster on this machine)')
    .option('--token-file <FILE>', 'its token (default: MUSTER_TOKEN_FILE, else that of a node on this machine)');
}

export type WithCluster<Options = unknown> = ClusterOptions & Options;

/** Ends a command's help with examples and the meaning of exit codes. */
export function withExamples(command: Command, ...examples: readonly string[]): Command {
  return command.addHelpText('after', `\nExamples:\n${examples.map((example) => `  ${example}\n`).join('')}\n${EXIT_CODES_HELP}`);
}

/** For options that may be given several times. */
export const collect = (value: string, earlier: readonly string[] = []): string[] => [...earlier, value];

/** Prints data for programs. */
export function printJson(data: unknown): void {
  process.stdout.write(`${JSON.stringify(data, null, 2)}\n`);
}

/** Prints text for people. */
export function printText(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Prints beside the output proper. */
export function printNote(text: string): void {
  process.stderr.write(`${text}\n`);
}
