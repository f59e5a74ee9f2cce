/** The output of tasks and actors, as the driver shows it: each line with who printed it. */
import type { LogLines } from '@muster/protocol';

const useColor = (stream: NodeJS.WriteStream): boolean => stream.isTTY && !process.env['NO_COLOR'];

/** Writes lines as `(square worker-1f2e pid=812) text`, to the stream that they were printed to. */
export function showLogLines(log: LogLines): void {
  const stream = log.isError ? process.stderr : process.stdout;
  const who = log.workerId === '' ? log.jobId : [log.name, log.workerId, `pid=${log.pid}`].filter(Boolean).join(' '); // at its end, of the whole job
  const prefix = useColor(stream) ? `\u001b[36m(${who})\u001b[39m` : `(${who})`;
  if (log.suppressedCount > 0) stream.write(`${prefix} … ${log.suppressedCount} lines left out, too many at once; all are in \`cluster logs ${log.workerId || log.jobId}\`\n`);
  if (log.lines.length > 0) stream.write(log.lines.map((line) => `${prefix} ${line}\n`).join(''));
}
