/** What the cluster is told to run. */
import { extname, basename } from 'node:path';
import type { JobSpec } from '@muster/head';

/** @param argv the program and its arguments, to run in this folder */
export function makeJobSpec(argv: readonly string[], options: Pick<JobSpec, 'name' | 'queue' | 'priority'>): JobSpec {
  return { argv, ...options, cwd: process.cwd(), env: loadsTypeScript(argv) ? { NODE_OPTIONS: withTypeScriptLoader(process.env['NODE_OPTIONS']) } : {} };
}

/** Whether the program is TypeScript and its Node, which is this one's version, cannot run that by itself. */
export function loadsTypeScript(argv: readonly string[], nodeRunsTypeScript = Boolean((process.features as { typescript?: unknown }).typescript)): boolean {
  const [command = '', ...args] = withoutVariables(argv);
  const entry = args.find((arg) => !arg.startsWith('-')) ?? '';
  return !nodeRunsTypeScript && basename(command) === 'node' && ['.ts', '.mts', '.cts', '.tsx'].includes(extname(entry));
}

/** What `env NAME=VALUE ...` runs: a submitted program is given variables so. */
function withoutVariables(argv: readonly string[]): readonly string[] {
  if (basename(argv[0] ?? '') !== 'env') return argv;
  const start = argv.findIndex((arg, index) => index > 0 && !arg.includes('='));
  return start === -1 ? [] : argv.slice(start);
}

function withTypeScriptLoader(nodeOptions = ''): string {
  return `${nodeOptions} --import ${import.meta.resolve('tsx')}`.trim();
}
