/** The commands, in the order of the help. Each is loaded when it is asked for. */
import type { Command } from 'commander';

/** What a command's module exports. */
export interface CommandModule {
  /** Adds arguments, options, examples and the action. */
  define(command: Command): void;
}

export interface CommandEntry {
  readonly name: string;
  /** One line for the help. */
  readonly summary: string;
  readonly load: () => Promise<CommandModule>;
}

export const COMMANDS: readonly CommandEntry[] = [
  { name: 'start', summary: 'start a node on this machine: the head of a new cluster, or a member of one', load: () => import('./start.js') },
  { name: 'stop', summary: 'stop nodes on this machine; with its head, a cluster stops', load: () => import('./stop.js') },
  { name: 'status', summary: 'show the cluster at a glance', load: () => import('./status.js') },
  { name: 'summary', summary: 'count tasks and actors by name and state', load: () => import('./summary.js') },
  { name: 'list', summary: 'list nodes, tasks, actors, gangs, groups, objects, jobs or workers', load: () => import('./list.js') },
  { name: 'explain', summary: 'say why something waits, why it died, or where it ran', load: () => import('./explain.js') },
  { name: 'plan', summary: 'say what would be placed, now or with more nodes, and why not the rest', load: () => import('./plan.js') },
  { name: 'logs', summary: 'show what a worker, an actor, a job or a node here has printed', load: () => import('./logs.js') },
  { name: 'submit', summary: 'run a program as a job on the cluster', load: () => import('./submit.js') },
  { name: 'jobs', summary: 'list jobs', load: () => import('./jobs.js') },
  { name: 'stop-job', summary: 'stop a job', load: () => import('./stop-job.js') },
  { name: 'drain', summary: 'let a node take no more tasks and actors', load: () => import('./drain.js') },
  { name: 'tune', summary: 'search for the best parameters of a function, and show what was found', load: () => import('./tune.js') },
  { name: 'bench', summary: 'measure this machine: tasks and actors, collectives, kernels, tuning, training, or the head by itself', load: () => import('./bench.js') },
  { name: 'sim', summary: 'simulate a cluster: thousands of nodes, work and faults from a scenario file', load: () => import('./sim.js') },
  { name: 'token', summary: 'print the path of the file with the cluster\'s token', load: () => import('./token.js') },
];
