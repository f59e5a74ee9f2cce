/** Runs one of `cluster bench`'s programs that make their own comparisons: its records, and what was left out of it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { parseRecords } from './records.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TIMEOUT_MS = 15 * 60_000;

/** @param {string} name after `cluster bench` @throws {Error} when it fails */
export async function runSuite(name) {
  const child = spawn('npx', ['--no-install', 'cluster', 'bench', name, '--json'], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'], timeout: TIMEOUT_MS });
  const [stdout, stderr, [code, signal]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  if (code !== 0) throw new Error(`cluster bench ${name} ended with ${code ?? signal}:\n${stderr}`);
  return { records: parseRecords(stdout), notes: stderr.split('\n').filter((line) => /left out|skipped/.test(line)) };
}
