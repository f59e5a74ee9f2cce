/**
 * The peers of the core benchmark: which there are, which can run here, and how to run one. As a program, it runs them
 * one after another:
 *
 *     node bench/peers/run.mjs [--only NAME-FILTER] [--peer PEER] [--seconds S] [--json]
 */
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { formatValue, runForRecords } from '../records.mjs';

const FOLDER = fileURLToPath(new URL('.', import.meta.url));
const SETUP = 'run `node bench/peers/setup.mjs`';
const PYTHON = join(FOLDER, '.venv/bin/python');

/** Far above the longest run, all of Ray's benchmarks at 8 s each: this ends only what hangs. */
const TIMEOUT_MS = 20 * 60_000;

/** `lacks` says why a peer cannot run here, or returns null. */
const PEERS = [
  { name: 'ray', command: PYTHON, script: 'ray-microbenchmark.py', lacks: () => lacksFile(PYTHON) },
  nodePeer('piscina', () => lacksFile(join(FOLDER, 'node_modules/piscina'))),
  nodePeer('workerpool', () => lacksFile(join(FOLDER, 'node_modules/workerpool'))),
  nodePeer('bullmq', () => lacksFile(join(FOLDER, 'node_modules/bullmq')) ?? lacksProgram('redis-server')),
  nodePeer('raw-socket', () => null),
  nodePeer('memcpy', () => null),
];

function nodePeer(name, lacks) {
  return { name, command: process.execPath, script: `${name}.mjs`, lacks };
}

function lacksFile(path) {
  return existsSync(path) ? null : `not installed: ${SETUP}`;
}

function lacksProgram(program) {
  const found = (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  return found ? null : `${program} is not on the PATH: install the package ${program}`;
}

/**
 * All peers, and why some cannot run here.
 * @returns {readonly { name: string, skipped: string | null }[]}
 */
export function listPeers() {
  return PEERS.map(({ name, lacks }) => ({ name, skipped: lacks() }));
}

/**
 * Runs one peer's measurements: exactly the one that `filter` names, or, where none has that name, every one that contains it.
 * @param {string} peer A name of {@link listPeers}.
 * @param {string} filter `''` selects all.
 * @param {number} seconds How long each measurement lasts, after its warm-up.
 * @returns {Promise<import('../records.mjs').BenchRecord[]>}
 */
export async function runPeer(peer, filter, seconds) {
  const program = PEERS.find(({ name }) => name === peer);
  if (!program) throw new RangeError(`no peer is named '${peer}': there are ${PEERS.map(({ name }) => name).join(', ')}`);
  return runForRecords({
    command: program.command,
    args: [program.script, filter, '--seconds', String(seconds)],
    cwd: FOLDER,
    timeoutMs: TIMEOUT_MS,
  });
}

async function main() {
  const { values: options } = parseArgs({
    options: {
      only: { type: 'string', default: '' },
      peer: { type: 'string' },
      seconds: { type: 'string', default: '4' },
      json: { type: 'boolean', default: false },
    },
  });
  for (const { name, skipped } of listPeers()) {
    if (options.peer && options.peer !== name) continue;
    if (skipped) {
      console.error(`${name}: skipped, ${skipped}`);
      continue;
    }
    for (const record of await runPeer(name, options.only, Number(options.seconds))) {
      console.log(options.json ? JSON.stringify(record) : describe(record));
    }
  }
}

function describe({ peer, name, value, unit }) {
  return `${peer.padEnd(28)} ${name.padEnd(46)} ${formatValue(value).padStart(12)} ${unit}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
