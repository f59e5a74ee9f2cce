/**
 * How the programs of a benchmark are run and read: one JSON record a line on stdout, everything else on stderr.
 * Knows no program and no comparison.
 *
 * @typedef {object} BenchRecord
 * @property {string} name What was measured.
 * @property {number} value
 * @property {string} unit
 * @property {'higher' | 'lower'} better
 * @property {string} [peer] Whose record it is, with its version; Muster's own have none.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';

const STDERR_TAIL_LINES = 10;

/**
 * Runs a program to its end and returns its records. A program that overruns its limit gets a SIGTERM.
 * @param {{ command: string, args: readonly string[], cwd: string, timeoutMs: number }} program
 * @returns {Promise<BenchRecord[]>}
 * @throws {Error} when it cannot be started, fails, overruns, or prints something else than records.
 */
export async function runForRecords({ command, args, cwd, timeoutMs }) {
  const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs });
  const [stdout, stderr, [code, signal]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  if (code !== 0) {
    const tail = stderr.trimEnd().split('\n').slice(-STDERR_TAIL_LINES).join('\n    ');
    const end = signal ? `was ended by ${signal}, its limit being ${timeoutMs / 1_000} s` : `exited with code ${code}`;
    throw new Error(`${[command, ...args].join(' ')} ${end}; its last lines of stderr:\n    ${tail}`);
  }
  return parseRecords(stdout);
}

/** The records of an output, one a line. @param {string} output @returns {BenchRecord[]} */
export function parseRecords(output) {
  return output.split('\n').filter(Boolean).map(parseRecord);
}

const GPU_LINE = /^(?<name>.+?)\s{2,}(?<value>[\d.]+) (?<unit>\S+)(?:\s+(?<ratio>[\d.]+))?$/;
const PYTORCH_PRODUCT = /^(?<what>product .*), PyTorch /;

/**
 * The records of the table that `native/cuda/check.sh` prints: name, value, unit, and the ratio to the first of its race, a device copy where bytes are counted; and
 * behind it PyTorch's products. Its heading, which names the device, is a note.
 * @param {string} output @returns {{ records: BenchRecord[], notes: string[] }}
 */
export function recordsOfGpu(output) {
  const lines = output.split('\n');
  const rows = lines.flatMap((line) => GPU_LINE.exec(line)?.groups ?? []).map(({ name, value, unit, ratio }) => ({ name, value: Number(value), unit, ratio: Number(ratio) }));
  const torch = new Map(rows.flatMap(({ name, value }) => { const what = PYTORCH_PRODUCT.exec(name)?.groups.what; return what ? [[what, value]] : []; }));
  const records = rows.flatMap(({ name, value, unit, ratio }) => {
    const own = { name, value, unit, better: 'higher' };
    if (unit === 'GB/s' && name !== 'device copy') return [own, { name: `${name} to device copy`, value: ratio, unit: 'ratio', better: 'higher' }];
    const peer = torch.get(name.slice(0, name.indexOf(',')));
    return peer === undefined || PYTORCH_PRODUCT.test(name) ? [own] : [own, { name: `${name} to PyTorch`, value: value / peer, unit: 'ratio', better: 'higher' }];
  });
  return { records, notes: lines.filter((line) => line.startsWith('# ')).map((line) => `On ${line.slice(2)}.`) };
}

function parseRecord(line) {
  const record = JSON.parse(line);
  const valid = typeof record.name === 'string' && Number.isFinite(record.value) && typeof record.unit === 'string'
    && (record.better === 'higher' || record.better === 'lower');
  if (!valid) throw new TypeError(`this line is not a record of { name, value, unit, better }: ${line}`);
  return record;
}

/** Writes a value with three significant digits, and whole above a thousand: `0.0123`, `12.3`, `1,234,567`. */
export function formatValue(value) {
  const options = Math.abs(value) >= 1_000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 };
  return value.toLocaleString('en', options);
}
