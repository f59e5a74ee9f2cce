/** What a benchmark's numbers depend on. */
import { execFileSync } from 'node:child_process';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** @returns {[string, string][]} what, and which */
export function describeRun() {
  const processor = cpus()[0]?.model ?? process.arch;
  return [
    ['date', new Date().toISOString()],
    ['commit', execFileSync('git', ['describe', '--always', '--dirty'], { cwd: ROOT, encoding: 'utf8' }).trim()],
    ['processor', `${processor}, ${availableParallelism()} cores`],
    ['memory', `${(totalmem() / 2 ** 30).toFixed(1)} GiB`],
    ['system', `${process.platform} ${release()}, load ${loadavg().map((load) => load.toFixed(2)).join(' ')} at the start`],
    ['Node', process.versions.node],
  ];
}
