/** Where the packages lie, where their sources are, what is compiled from them, and where what is temporary goes. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

const COMPILED_ENDINGS = ['.d.ts', '.js.map', '.js'];

/** The folders with a tsconfig.json and sources: every workspace, and test/. */
export function workspaceFolders() {
  const { workspaces } = JSON.parse(readFileSync('package.json', 'utf8'));
  const folders = workspaces.flatMap((pattern) => {
    if (!pattern.endsWith('/*')) return [pattern];
    const parent = pattern.slice(0, -2);
    return readdirSync(parent, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => join(parent, entry.name)).sort();
  });
  return [...folders, 'test'].filter((folder) => existsSync(join(folder, 'tsconfig.json')));
}

/** The package.json of a workspace, or undefined for test/, which has none. */
export function manifestOf(folder) {
  const file = join(folder, 'package.json');
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
}

/** The folder of what is compiled, or undefined where nothing is, and that of the sources. */
export function compiledFolders(folder) {
  const { rootDir = '.', outDir } = JSON.parse(readFileSync(join(folder, 'tsconfig.json'), 'utf8')).compilerOptions ?? {};
  return { sources: join(folder, rootDir), compiled: outDir && join(folder, outDir) };
}

/** Every compiled file of a workspace and the source that it was compiled from, which may be gone by now. */
export function compiledFilesOf(folder) {
  const { sources, compiled } = compiledFolders(folder);
  if (!compiled || !existsSync(compiled)) return [];
  return allFilesIn(compiled).flatMap((file) => {
    const ending = COMPILED_ENDINGS.find((end) => file.endsWith(end));
    return ending ? [{ file, source: join(sources, `${relative(compiled, file).slice(0, -ending.length)}.ts`) }] : [];
  });
}

function allFilesIn(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? allFilesIn(join(folder, entry.name)) : [join(folder, entry.name)]).sort();
}

/** Where the folders of clusters go: sockets lie in them, and the paths of sockets must be short. */
export function temporaryFolder() {
  return tmpdir().length <= 20 || !existsSync('/tmp') ? tmpdir() : '/tmp';
}
