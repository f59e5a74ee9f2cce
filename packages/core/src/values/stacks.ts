/** Stacks of remote errors as users want to read them: places in their own source files, and no frames of Muster itself. */
import { findSourceMap } from 'node:module';
import { fileURLToPath } from 'node:url';

/** Stands between what ran on a worker and the call that made it run. */
export const CALLED_FROM = '  --- called from ---';

/** Muster's own folders as frames name them: a URL where a module runs, a path where a source map has been applied. */
function foldersOf(name: string): string[] {
  const url = new URL(`../../../${name}/`, import.meta.url);
  return [url.href, fileURLToPath(url)];
}
const OWN_FOLDERS = ['base', 'core', 'worker'].flatMap(foldersOf);
/** Below its frames there is only what brought the call to the worker. */
const CALLER_FILES = foldersOf('worker').flatMap((folder) => [`${folder}dist/io/user-code.`, `${folder}src/io/user-code.`]);

/** Leaves out Muster's frames and maps the others, in each part of a stack that {@link CALLED_FROM} joins. */
export function readableStack(stack: string): string {
  let isBelowCall = false;
  const names = (line: string, places: readonly string[]): boolean => places.some((place) => line.includes(place));
  return stack.split('\n').flatMap((line) => {
    if (line === CALLED_FROM) isBelowCall = false;
    if (!line.startsWith('    at ')) return [line];
    isBelowCall ||= names(line, CALLER_FILES);
    return isBelowCall || names(line, OWN_FOLDERS) ? [] : [mapFrame(line)];
  }).join('\n');
}

/**
 * Code that a loader such as tsx compiled in memory arrives with the places of its source. Of a file that was compiled to another one, as by tsc, a
 * worker has no source map, and its frames name the output: the program that loaded it knows the way back. A frame that was mapped names a path, not a URL.
 */
function mapFrame(frame: string): string {
  return frame.replace(/(file:\/\/[^()]+):(\d+):(\d+)(?=\)?$)/, (place, url: string, line: string, column: string) => {
    try {
      const origin = findSourceMap(url)?.findEntry(Number(line) - 1, Number(column) - 1);
      if (!origin || !('originalLine' in origin)) return place;
      return `${fileURLToPath(new URL(origin.originalSource, url))}:${origin.originalLine + 1}:${origin.originalColumn + 1}`;
    } catch {
      return place; // a map that cannot be read, or that names no file
    }
  });
}
