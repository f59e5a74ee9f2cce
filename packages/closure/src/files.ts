/** Names of script files: V8 gives URLs for ES modules, paths for CommonJS, and names of its own for the rest. */
import { realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** V8's name of a script as a URL, where it is a file. */
export function toUrl(name: string): string {
  return path.isAbsolute(name) ? pathToFileURL(name).href : name;
}

/** The URL without query and fragment, by which loaders tell instances of one file apart. */
export function withoutQuery(url: string): string {
  return url.replace(/[?#].*$/, '');
}

/** The path of a script, from which `require` and relative imports resolve. Code that is in no file resolves from the working directory. */
export function filePathOf(url: string): string {
  return url.startsWith('file:') ? fileURLToPath(withoutQuery(url)) : path.join(process.cwd(), '[eval]');
}

let mainUrl: string | undefined;

/** Whether this is the file that the process was started with. Workers never import it: they would run the program again. */
export function isMainScript(url: string): boolean {
  mainUrl ??= findMainUrl();
  return withoutQuery(url) === mainUrl;
}

/** Whether `specifier`, in the file `parent`, names the main script. Extensions are not compared: TypeScript writes `.js` for a `.ts` file. */
export function leadsToMainScript(parent: string, specifier: string): boolean {
  if (!/^(?:\.{0,2}\/|file:)/.test(specifier) || !URL.canParse(specifier, parent)) return false;
  mainUrl ??= findMainUrl();
  const stem = (url: string): string => withoutQuery(url).replace(/\.[cm]?[jt]sx?$/, '');
  return stem(new URL(specifier, parent).href) === stem(mainUrl);
}

function findMainUrl(): string {
  const entry = process.argv[1];
  if (!entry) return '';
  try {
    return pathToFileURL(realpathSync(createRequire(path.join(process.cwd(), '[main]')).resolve(path.resolve(entry)))).href;
  } catch {
    return pathToFileURL(entry).href; // an entry point that only a loader can resolve
  }
}
