/**
 * The core benchmark: Muster and its peers, one after another in every round, so that a busy machine is busy for all of
 * them. Writes medians, ratios and verdicts as Markdown.
 *
 *     node bench/core.mjs [--rounds 3] [--only NAME-FILTER ...] [--with-target] [--out FOLDER]
 *
 * `--with-target` leaves out the names that no target is set for.
 *
 * Muster's own values come from `npx cluster bench core --only NAME --json`. Exits with 1 when a record is missing; a
 * target that was missed is a result, not a failure.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { COMPARISONS } from './comparisons.mjs';
import { describeRun } from './facts.mjs';
import { listPeers, runPeer } from './peers/run.mjs';
import { runForRecords } from './records.mjs';
import { comparisonTargetRows, renderMarkdown } from './report.mjs';
import { RESULTS_FOLDER, saveResults } from './results.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PEER_SECONDS = 4;
const MUSTER_TIMEOUT_MS = 5 * 60_000;

/** @param {import('./comparisons.mjs').Comparison} comparison */
const hasTarget = ({ target, against }) => target !== undefined || against.some(({ atLeast, atMost }) => atLeast !== undefined || atMost !== undefined);

/** Muster's records for one name, from a fresh cluster. */
function runMuster(name) {
  return runForRecords({
    command: 'npx',
    args: ['--no-install', 'cluster', 'bench', 'core', '--only', name, '--json'],
    cwd: ROOT,
    timeoutMs: MUSTER_TIMEOUT_MS,
  });
}

/**
 * Runs one comparison: in every round Muster first, then each peer. A side that fails once is not run again.
 * @param {import('./comparisons.mjs').Comparison} comparison
 * @param {{ rounds: number, skippedPeers: ReadonlySet<string> }} plan
 * @returns {Promise<import('./report.mjs').Row>}
 */
async function compare(comparison, { rounds, skippedPeers }) {
  const ours = makeSide(comparison.name, () => runMuster(comparison.name));
  const peers = comparison.against.map((against) => {
    const name = against.name ?? comparison.name;
    const side = skippedPeers.has(against.peer) ? null : makeSide(name, () => runPeer(against.peer, name, PEER_SECONDS));
    return { against, side };
  });
  const sides = [ours, ...peers.map((peer) => peer.side)].filter((side) => side !== null);

  for (let round = 1; round <= rounds; round++) {
    for (const side of sides) await side.run();
    console.log(`${comparison.name}: round ${round} of ${rounds}`);
  }
  const failures = sides.flatMap((side) => side.failure ?? []);
  const units = new Set(sides.flatMap((side) => side.series()?.unit ?? []));
  if (units.size > 1) failures.push(`the units differ: ${[...units].join(', ')}`);
  return {
    name: comparison.name,
    target: comparison.target,
    ours: ours.series(),
    peers: peers.map(({ against, side }) => ({ against, series: side?.series() ?? null })),
    failures,
  };
}

/** One side of a comparison: runs once a round, and keeps the records of its name or the reason there are none. */
function makeSide(name, run) {
  const records = [];
  const side = {
    /** @type {string | null} */
    failure: null,
    async run() {
      if (side.failure) return;
      try {
        const record = (await run()).find((candidate) => candidate.name === name);
        if (!record) throw new Error(`there was no record named '${name}'`);
        records.push(record);
      } catch (error) {
        side.failure = error.message;
      }
    },
    series() {
      if (side.failure) return null;
      const { unit, peer = 'Muster' } = records[0];
      return { who: peer, name, unit, values: records.map((record) => record.value) };
    },
  };
  return side;
}

async function main() {
  const { values: options } = parseArgs({
    options: {
      rounds: { type: 'string', default: '3' },
      only: { type: 'string', multiple: true, default: [''] },
      'with-target': { type: 'boolean', default: false },
      out: { type: 'string', default: RESULTS_FOLDER },
    },
  });
  const rounds = Number(options.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new RangeError(`--rounds ${options.rounds}: it must be a whole number above 0`);
  if (!existsSync(join(ROOT, 'node_modules/.bin/cluster'))) {
    throw new Error('the `cluster` command is missing: run `npm ci` and `npm run build` first');
  }

  const facts = [...describeRun(), ['rounds', `${rounds}; a peer's measurement lasts ${PEER_SECONDS} s`]];
  const skipped = listPeers().filter((peer) => peer.skipped);
  for (const { name, skipped: reason } of skipped) console.log(`${name}: skipped, ${reason}`);
  const skippedPeers = new Set(skipped.map((peer) => peer.name));

  const rows = [];
  for (const comparison of COMPARISONS) {
    if (options['with-target'] && !hasTarget(comparison)) continue;
    if (!options.only.some((part) => comparison.name.includes(part))) continue;
    rows.push(await compare(comparison, { rounds, skippedPeers }));
    // After each name: an interrupted run keeps what it has measured.
    saveResults(options.out, {
      page: 'core', title: 'Core benchmark', facts, targets: comparisonTargetRows(rows),
      markdown: renderMarkdown({ facts, skipped: skipped.map(({ name, skipped: reason }) => `${name}, ${reason}`), rows }),
    });
  }
  console.log(`wrote core.md and the summary in ${options.out}`);

  const failures = rows.flatMap((row) => row.failures.map((failure) => `${row.name}: ${failure}`));
  for (const failure of failures) console.error(failure);
  if (failures.length) process.exitCode = 1;
}

await main();
