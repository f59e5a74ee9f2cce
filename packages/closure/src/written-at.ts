/** Names for functions that have none. */
import path from 'node:path';
import { filePathOf } from './files.js';
import { inspectFunction, releaseInspector, scriptOf } from './inspector.js';
import { lineWritten } from './layout.js';

/** Where a function was written, as people say it: `app.ts:12`. Undefined for one that is in no file. */
export function writtenAt(fn: Function): string | undefined {
  try {
    const { location } = inspectFunction(fn);
    if (!location) return undefined;
    const script = scriptOf(location.scriptId);
    return script.url.startsWith('file:') ? `${path.basename(filePathOf(script.url))}:${lineWritten(script, location) + 1}` : undefined;
  } catch {
    return undefined; // Node may refuse its inspector, which matters only to a function that travels by value
  } finally {
    releaseInspector();
  }
}
