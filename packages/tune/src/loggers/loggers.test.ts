import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { LoggerSet } from '../io/logger-set.js';
import type { ExperimentLogger } from '../logger.js';
import type { BeginRecord, LogRecord } from '../machine/records.js';
import { TrialTable } from '../machine/trial-table.js';
import { progress } from '../view/progress.js';
import { Writable } from 'node:stream';
import { csv } from './csv.js';
import { crc32c } from './event-file.js';
import { jsonLines } from './json-lines.js';
import { mlflow } from './mlflow.js';
import { tensorboard } from './tensorboard.js';

const root = mkdtempSync(join(tmpdir(), 'muster-tune-l-'));
t.teardown(() => rmSync(root, { recursive: true, force: true }));

const BEGIN: BeginRecord = { kind: 'begin', version: 1, name: 'sweep', space: [], objectives: [{ metric: 'loss', mode: 'min' }], seed: 0, searcher: 'random', searcherSeed: 0, scheduler: 'fixed', startedAt: 1_000_000 };
const RECORDS: readonly LogRecord[] = [
  { kind: 'trial', id: '1', config: { lr: 0.5, act: 'relu', deep: { on: true } }, reason: 'draw', isInitial: false, atMs: 10 },
  { kind: 'report', id: '1', step: 1, metrics: { loss: 2.5, note: 'x' }, hasCheckpoint: false, decision: { kind: 'continue', reason: '' }, atMs: 20 },
  { kind: 'report', id: '1', step: 300, metrics: { loss: 1.5 }, hasCheckpoint: false, decision: { kind: 'stop', reason: '' }, atMs: 30 },
  { kind: 'end', id: '1', status: 'stopped', metrics: { loss: 1.5 }, reason: 'asked to', atMs: 40 },
  { kind: 'trial', id: '2', config: { lr: 0.25, act: 'gelu' }, reason: 'draw', isInitial: false, atMs: 50 },
  { kind: 'end', id: '2', status: 'completed', metrics: { loss: 0.5 }, reason: 'done', atMs: 60 },
  { kind: 'finish', reason: 'all trials', atMs: 70 },
];

/** Lives through an experiment with a logger, and returns the warnings. */
async function log(logger: ExperimentLogger): Promise<string[]> {
  const warnings: string[] = [];
  const set = new LoggerSet([logger], (text) => warnings.push(text));
  const table = new TrialTable(BEGIN.objectives);
  await set.begin({ begin: BEGIN, table, trials: 2, folder: null });
  for (const record of RECORDS) {
    table.apply(record);
    set.record(record);
  }
  await set.close();
  return warnings;
}

t.test('JSON lines hold every record, CSV every trial', async (t) => {
  const [lines, table] = [join(root, 'log.jsonl'), join(root, 'trials.csv')];
  t.same(await log(jsonLines(lines)), []);
  t.same(readFileSync(lines, 'utf8').trim().split('\n').map((line) => JSON.parse(line) as unknown), [BEGIN, ...RECORDS]);
  t.same(await log(csv(table)), []);
  t.equal(readFileSync(table, 'utf8').split('\r\n')[2], '2,completed,0,1,10,draw,done,0.25,gelu,,0.5');
});

t.test('a logger that fails is left out with a warning, and ends nothing', async (t) => {
  t.match(await log(jsonLines(join(root, 'missing', 'log'))), [/the logger jsonLines failed, .*ENOENT/]);
  await t.rejects(async () => csv(join(root, 'missing', 'trials.csv')).begin({ begin: BEGIN, table: new TrialTable(BEGIN.objectives), trials: 2, folder: null }), { code: 'ENOENT' }, 'and not when all is over');
  t.match(await log(tensorboard('/proc/none/board')), [/the logger tensorboard failed, .*ENOENT/], 'where no folder can be made');
  t.match(await log(mlflow({ url: 'http://127.0.0.1:9' })), [/the logger mlflow failed/]);
  let calls = 0;
  t.match(await log({ name: 'mine', begin: () => {}, close: async () => {}, record: () => { calls++; throw new Error('no'); } }), [/the logger mine failed/]);
  t.equal(calls, 1);
});

/** The messages of an event file, by a reader that shares nothing with the writer but the checksum, which is checked against the RFC. */
function eventsOf(folder: string): Buffer[] {
  const [name] = readdirSync(folder);
  const bytes = readFileSync(join(folder, name!));
  const unmask = (masked: number): number => {
    const rotated = (masked - 0xa282ead8) >>> 0;
    return ((rotated >>> 17) | (rotated << 15)) >>> 0;
  };
  const events: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(bytes.readBigUInt64LE(at));
    if (unmask(bytes.readUInt32LE(at + 8)) !== crc32c(bytes.subarray(at, at + 8))) throw new Error('the checksum of a length');
    const event = bytes.subarray(at + 12, at + 12 + length);
    if (unmask(bytes.readUInt32LE(at + 12 + length)) !== crc32c(event)) throw new Error('the checksum of an event');
    events.push(event);
    at += 16 + length;
  }
  return events;
}

/** Fields of a message: by number, the values in their order. */
function fieldsOf(bytes: Buffer): Map<number, (number | Buffer)[]> {
  const fields = new Map<number, (number | Buffer)[]>();
  let at = 0;
  const varint = (): number => {
    let [value, scale] = [0, 1];
    for (;;) {
      const byte = bytes[at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const form = key & 7;
    let value: number | Buffer;
    if (form === 0) value = varint();
    else if (form === 1) value = bytes.readDoubleLE((at += 8) - 8);
    else if (form === 5) value = bytes.readFloatLE((at += 4) - 4);
    else {
      const length = varint();
      value = bytes.subarray(at, (at += length));
    }
    fields.set(key >> 3, [...(fields.get(key >> 3) ?? []), value]);
  }
  return fields;
}

const inner = (bytes: Buffer, ...path: readonly number[]): Buffer => path.reduce((value, number) => fieldsOf(value).get(number)![0] as Buffer, bytes);

t.test('TensorBoard\'s event files: checksums, scalars by step, parameters and the end of each trial', async (t) => {
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283, 'RFC 3720');
  t.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa, 'RFC 3720, appendix B.4');
  const folder = join(root, 'board');
  t.same(await log(tensorboard(folder)), []);
  t.same(readdirSync(folder).sort(), ['trial-1', 'trial-2']);
  const events = eventsOf(join(folder, 'trial-1'));
  t.equal(inner(events[0]!, 3).toString(), 'brain.Event:2');
  const seen = events.slice(1).map((event) => {
    const value = fieldsOf(inner(event, 5, 1));
    return [String(value.get(1)![0]), fieldsOf(event).get(2)![0], value.get(2)?.[0]];
  });
  t.same(seen, [['_hparams_/session_start_info', 0, undefined], ['loss', 1, 2.5], ['loss', 300, 1.5], ['_hparams_/session_end_info', 0, undefined]]);
  const metadata = inner(events[1]!, 5, 1, 9, 1);
  t.equal(inner(metadata, 1).toString(), 'hparams');
  const start = fieldsOf(inner(metadata, 2, 3));
  t.same(start.get(1)!.map((entry) => inner(entry as Buffer, 1).toString()), ['lr', 'act', 'deep.on']);
  t.equal(fieldsOf(inner(start.get(1)![0] as Buffer, 2)).get(2)![0], 0.5);
  t.equal(inner(start.get(1)![1] as Buffer, 2, 3).toString(), 'relu');
  t.equal(fieldsOf(inner(events.at(-1)!, 5, 1, 9, 1, 2, 4)).get(1)![0], 1, 'STATUS_SUCCESS');
});

t.test('MLflow: one run for each trial, with parameters, metrics by step and its end', async (t) => {
  const calls: { readonly method: string; readonly path: string; readonly body: Record<string, unknown> }[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.setEncoding('utf8').on('data', (chunk: string) => { text += chunk; }).on('end', () => {
      const path = request.url!.replace('/api/2.0/mlflow/', '');
      calls.push({ method: request.method!, path, body: (text === '' ? {} : JSON.parse(text)) as Record<string, unknown> });
      if (path.startsWith('experiments/get-by-name')) return response.writeHead(404).end('{"error_code":"RESOURCE_DOES_NOT_EXIST"}');
      const runs = calls.filter((call) => call.path === 'runs/create').length;
      return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(path === 'experiments/create' ? { experiment_id: '7' } : path === 'runs/create' ? { run: { info: { run_id: `run-${runs}` } } } : {}));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  t.same(await log(mlflow({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` })), []);
  t.same(calls.map(({ path }) => path), [
    'experiments/get-by-name?experiment_name=sweep', 'experiments/create', 'runs/create', 'runs/log-batch', 'runs/log-batch', 'runs/log-batch', 'runs/update',
    'runs/create', 'runs/log-batch', 'runs/log-batch', 'runs/update',
  ]);
  t.match(calls[2]!.body, { experiment_id: '7', run_name: 'trial-1', start_time: 1_000_010 });
  t.same(calls[3]!.body, { run_id: 'run-1', params: [{ key: 'lr', value: '0.5' }, { key: 'act', value: 'relu' }, { key: 'deep.on', value: 'true' }] });
  t.same(calls[5]!.body, { run_id: 'run-1', metrics: [{ key: 'loss', value: 1.5, timestamp: 1_000_030, step: 300 }] });
  t.match(calls[6]!.body, { status: 'KILLED', end_time: 1_000_040 });
  t.match(calls.at(-1)!.body, { run_id: 'run-2', status: 'FINISHED' });
});

t.test('progress: a table that is drawn over itself in a terminal, plain lines elsewhere', async (t) => {
  const shown = async (isTTY: boolean, columns = 50): Promise<string> => {
    let text = '';
    const stream = Object.assign(new Writable({ write: (chunk, _, done) => { text += String(chunk); done(); } }), { isTTY, columns });
    t.same(await log(progress({ stream: stream as never })), []);
    return text;
  };
  const lines = await shown(false);
  t.notMatch(lines, '\x1b');
  t.match(lines, /^sweep: 1 of 2 trials, 1 stopped, best loss 1\.5 in trial 1/);
  t.match(lines.trim().split('\n').at(-1), /^sweep: 2 of 2 trials, .*best loss 0\.5 in trial 2/);
  t.match(await shown(true, 0), /trial +state +step +loss/, 'also where the terminal does not know its size');
  const drawn = await shown(true);
  t.match(drawn, /trial +state +step +loss/);
  t.ok(drawn.split('\n').every((line) => line.replaceAll(/\x1b\[\w+/g, '').length <= 50));
});

/** What a terminal shows of what was written, of the escapes that the table uses. */
function screenOf(text: string): string[] {
  const lines = [''];
  let row = 0;
  for (const [part, up, erase] of text.matchAll(/\x1b\[(\d+)A|\x1b\[(2K|J)|\n|[^\x1b\n]+/g)) {
    if (up !== undefined) row -= Number(up);
    else if (erase === '2K') lines[row] = '';
    else if (erase === 'J') lines.splice(row, Infinity, '');
    else if (part === '\n') lines[++row] ??= '';
    else lines[row] += part;
  }
  return lines;
}

t.test('progress: what others write to the terminal passes above the table, which has room for the latest failure and no more lines than the terminal', async (t) => {
  let text = '';
  let drawn = (): void => {};
  const isDrawn = new Promise<void>((resolve) => { drawn = resolve; });
  const awake = setTimeout(() => {}, 60_000); // the table's own timer lets a program end
  const take = (chunk: Buffer, done: () => void): void => {
    text += String(chunk);
    if (text.includes('no data')) drawn();
    done();
  };
  const stream = Object.assign(new Writable({ write: (chunk: Buffer, _, done) => take(chunk, done) }), { isTTY: true, columns: 60, rows: 6 });
  const { write } = stream;
  const logger = progress({ stream: stream as never });
  const table = new TrialTable(BEGIN.objectives);
  await logger.begin({ begin: BEGIN, table, trials: 9, folder: null });
  const tell = (record: LogRecord): void => {
    table.apply(record);
    logger.record(record);
  };
  for (let i = 1; i <= 5; i++) tell({ kind: 'trial', id: `${i}`, config: { lr: i }, reason: '', isInitial: false, atMs: i });
  tell({ kind: 'end', id: '2', status: 'failed', metrics: null, reason: 'Error: no data\nat once', atMs: 9 });
  stream.write('hello\nwithout an end');
  await isDrawn;
  clearTimeout(awake);
  stream.write('from a trial\n');
  t.same(screenOf(text), ['hello', 'without an end', 'from a trial', '']);
  await logger.close();
  t.same(screenOf(text).slice(2).map((line) => line.slice(0, 24)), ['from a trial', 'sweep: 1 of 9 trials, 4 ', 'trial  state    step  lo', '2      failed           ', '1      running          ', 'trial 2 failed: Error: n', '']);
  t.equal(stream.write, write, 'and then the stream is as it was');
});
