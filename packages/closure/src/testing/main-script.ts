/** Runs a main script that ends in `runCases`, as a program of its own, and tells what became of its cases. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';
import { environment, type Project } from './project.js';

/** The flags under which Node runs TypeScript through tsx. */
export const tsxFlags: readonly string[] = ['--import', import.meta.resolve('tsx')];

/** One assertion for each case, and that the script ends well. Gives the number of cases. */
export async function testMainScript(t: Test, project: Project, main: string, flags: readonly string[] = []): Promise<number> {
  const child = spawn(process.execPath, [...flags, main], { cwd: project.directory, env: environment, stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  let count = 0;
  for await (const line of createInterface(child.stdout)) {
    const { name, problem } = JSON.parse(line) as { readonly name: string; readonly problem?: string };
    t.equal(problem, undefined, name);
    count++;
  }
  t.same(await exited, [0, null], 'the main script ends well');
  return count;
}
