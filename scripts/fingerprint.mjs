/**
 * Whether a step must run again. A fingerprint covers the names and the contents of everything a step reads, never the times of files,
 * so that a fresh checkout, a branch switched back and forth or a touched file cost nothing.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const CACHE_FOLDER = '.cache';
const MADE_FOLDERS = new Set(['node_modules', 'dist', 'build']);

/** All files that people wrote under the paths (files or folders), sorted: nothing made, nothing hidden. Absent paths have none. */
export function filesUnder(...paths) {
  return paths.flatMap((path) => {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (!stat) return [];
    if (stat.isFile()) return [path];
    return readdirSync(path).filter((name) => !MADE_FOLDERS.has(name) && !name.startsWith('.')).sort().flatMap((name) => filesUnder(join(path, name)));
  });
}

/** @param {readonly string[]} paths @param {string} [more] anything else that the step depends on */
export function fingerprint(paths, more = '') {
  const hash = createHash('sha256').update(more);
  for (const file of filesUnder(...paths)) hash.update(`\0${file}\0`).update(readFileSync(file));
  return hash.digest('hex');
}

/**
 * Runs the work unless it ran before with this fingerprint and what it made is still there.
 * @param {{ name: string, fingerprint: string, makes: string }} step
 * @param {() => Promise<void>} work
 * @returns {Promise<'unchanged' | undefined>}
 */
export async function unlessUnchanged(step, work) {
  const record = join(CACHE_FOLDER, `${step.name}.fingerprint`);
  if (statSync(step.makes, { throwIfNoEntry: false }) && read(record) === step.fingerprint) return 'unchanged';
  await work();
  mkdirSync(CACHE_FOLDER, { recursive: true });
  writeFileSync(record, step.fingerprint);
  return undefined;
}

function read(file) {
  return statSync(file, { throwIfNoEntry: false }) ? readFileSync(file, 'utf8') : undefined;
}
