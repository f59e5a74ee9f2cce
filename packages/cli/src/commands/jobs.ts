/** `cluster jobs`: short for `cluster list jobs`. */
import type { Command } from 'commander';
import { withExamples } from './cluster-options.js';
import { list, withListOptions, type ListOptions } from './list.js';

export function define(command: Command): void {
  withListOptions(command).action((options: ListOptions) => list('jobs', options));
  withExamples(command, 'cluster jobs', 'cluster jobs --filter state=running');
}
