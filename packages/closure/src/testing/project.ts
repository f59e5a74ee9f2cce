/** A project of its own in a temporary folder, for tests whose main script is not the test. */
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const packageRoot = fileURLToPath(new URL('../..', import.meta.url));

/** The environment of processes that tests start: warnings are seen there. */
export const environment: NodeJS.ProcessEnv = { ...process.env, NODE_OPTIONS: '' };

/** The folder of scripts that tests run and do not import. */
export const fixtures = path.join(packageRoot, 'fixtures');

export interface Project {
  readonly directory: string;
  /** Writes a file and gives its path. */
  write(file: string, text: string): string;
  url(file: string): string;
  remove(): void;
}

/** Makes a project with the files of fixtures/project, the harness, this package, a CommonJS package `lists` and an ES package `voices`. */
export function makeProject(type: 'module' | 'commonjs'): Project {
  const directory = realpathSync(mkdtempSync(path.join(tmpdir(), 'muster-closure-')));
  const write = (file: string, text: string): string => {
    const full = path.join(directory, file);
    mkdirSync(path.dirname(full), { recursive: true });
    writeFileSync(full, text);
    return full;
  };
  cpSync(path.join(fixtures, 'project'), directory, { recursive: true });
  write('harness.mjs', `export { runCases } from ${JSON.stringify(new URL('./harness.js', import.meta.url).href)};`);
  write('package.json', JSON.stringify({ type }));
  write('node_modules/lists/package.json', JSON.stringify({ name: 'lists', main: 'index.js' }));
  write('node_modules/lists/index.js', 'exports.chunk = function chunk(list, size) { return list.length ? [list.slice(0, size), ...chunk(list.slice(size), size)] : []; };');
  write('node_modules/voices/package.json', JSON.stringify({ name: 'voices', type: 'module', exports: './index.js' }));
  write('node_modules/voices/index.js', 'export const shout = (text) => text.toUpperCase();');
  mkdirSync(path.join(directory, 'node_modules/@muster'));
  symlinkSync(packageRoot, path.join(directory, 'node_modules/@muster/closure'));
  return { directory, write, url: (file) => pathToFileURL(path.join(directory, file)).href, remove: () => rmSync(directory, { recursive: true }) };
}
