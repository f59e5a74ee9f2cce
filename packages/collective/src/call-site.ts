/** Where users' code makes a call, for messages. */

const FRAME = /\n +at (?:.* \()?(?:file:\/\/)?(.*:\d+:\d+)\)?/;

/**
 * The `file:line:column` from which `method` was called, in the source that source maps lead to where Node is told to follow them. Undefined where
 * no caller is on the stack. Takes about 20 us.
 */
export function callSite(method: (...parameters: never[]) => unknown): string | undefined {
  const limit = Error.stackTraceLimit;
  const holder: { readonly stack?: unknown } = {};
  Error.stackTraceLimit = 1;
  Error.captureStackTrace(holder, method);
  const site = FRAME.exec(String(holder.stack))?.[1];
  Error.stackTraceLimit = limit;
  return site;
}
