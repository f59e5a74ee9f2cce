/** Folders that are made where they are missing. */
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a folder with what is missing above it. Node's own, told to do that, tries for ever where a file system has no such folder and makes none, as /proc does.
 * @param mode of what is made
 * @throws Error as the system gives it; or that says that something else is there
 */
export function makeFolder(path: string, mode = 0o777): void {
  const missing: string[] = [];
  for (let at = path; !existsSync(at) && dirname(at) !== at; at = dirname(at)) missing.push(at);
  for (const one of missing.reverse()) {
    try {
      mkdirSync(one, { mode });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // another process was faster
    }
  }
  if (!statSync(path).isDirectory()) throw new Error('it is no folder');
}
