/** The stand-in for `import.meta` in revived code, which no longer is part of its module. */
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { filePathOf } from './files.js';

const urls = new WeakMap<object, string>();

/** What `import.meta` is in the file with this URL. */
export function makeImportMeta(url: string): object {
  const file = filePathOf(url);
  const resolve = (specifier: string): string => {
    const resolved = createRequire(file).resolve(specifier);
    return path.isAbsolute(resolved) ? pathToFileURL(resolved).href : resolved;
  };
  const meta = { url, filename: file, dirname: path.dirname(file), resolve };
  urls.set(meta, url);
  return meta;
}

/** The URL of the file that an object of {@link makeImportMeta} stands for. */
export function urlOfImportMeta(value: object): string | undefined {
  return urls.get(value);
}
