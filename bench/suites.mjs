/**
 * Runs the programs of `cluster bench` that make their own comparisons, and writes their tables beside the targets (targets.mjs). Those of a GPU are taken from
 * what `native/cuda/check.sh` printed on a machine that has one.
 *
 *     node bench/suites.mjs native | train | scheduler [--only SUITE] [--out FOLDER]
 *     node bench/suites.mjs gpu --from FILE [--out FOLDER]
 *
 * In these programs Muster and its peers take turns in every round; the values are medians. A peer that is not installed is skipped with its
 * reason, and a target that was missed is a result, not a failure.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { describeRun } from './facts.mjs';
import { parseRecords, recordsOfGpu } from './records.mjs';
import { RESULTS_FOLDER, saveSuites } from './results.mjs';
import { SUITE_PAGES } from './targets.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const TIMEOUT_MS = 15 * 60_000;

/** The records of one suite, and what was left out of it. @throws {Error} when it fails */
async function runSuite(name, from) {
  if (name === null) {
    if (from === undefined) throw new RangeError('--from FILE: what `native/cuda/check.sh` printed on a machine with a GPU');
    return recordsOfGpu(readFileSync(from, 'utf8'));
  }
  const child = spawn('npx', ['--no-install', 'cluster', 'bench', name, '--json'], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'], timeout: TIMEOUT_MS });
  const [stdout, stderr, [code, signal]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  if (code !== 0) throw new Error(`cluster bench ${name} ended with ${code ?? signal}:\n${stderr}`);
  return { records: parseRecords(stdout), notes: stderr.split('\n').filter((line) => /left out|skipped/.test(line)) };
}

const pages = SUITE_PAGES.filter(({ script }) => script.startsWith('bench/suites.mjs '));
const { positionals, values: options } = parseArgs({ allowPositionals: true, options: { only: { type: 'string', default: '' }, from: { type: 'string' }, out: { type: 'string', default: RESULTS_FOLDER } } });
const chosen = pages.find(({ page }) => page === positionals[0]);
if (!chosen) throw new RangeError(`which page is wanted: ${pages.map(({ page }) => page).join(', ')}?`);
const facts = describeRun();
const measured = chosen.suites.map(() => ({ notes: [], records: [] }));
for (const [i, { name }] of chosen.suites.entries()) {
  if (name !== null && !name.includes(options.only)) continue;
  measured[i] = await runSuite(name, options.from);
  for (const note of measured[i].notes) console.log(note);
  saveSuites(options.out, chosen.page, { facts, measured }); // after each suite: an interrupted run keeps what it has measured
}
console.log(`wrote ${chosen.page}.md and the summary in ${options.out}`);
