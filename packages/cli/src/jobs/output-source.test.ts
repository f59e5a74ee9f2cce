import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { loadsTypeScript } from './job-spec.js';
import type { ClusterConnection } from '../cluster/connection.js';
import { FileOutput, QueriedOutput } from './output-source.js';

t.test('a log file is read as it grows', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'muster-cli-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'job.log');
  const output = new FileOutput(path);
  t.teardown(() => output.close());
  const read = async (): Promise<string> => Buffer.from(await output.read()).toString();
  t.equal(await read(), '', 'it is not there yet');
  writeFileSync(path, 'one\n');
  t.equal(await read(), 'one\n');
  t.equal(await read(), '');
  appendFileSync(path, 'two\n');
  t.equal(await read(), 'two\n');
  appendFileSync(path, 'three\n');
  renameSync(path, `${path}.1`);
  writeFileSync(path, 'four\n');
  t.equal(await read(), 'three\n', 'what came before it was set aside comes first');
  t.equal(await read(), 'four\n');
});

/** A head that knows these logs and answers with at most three lines of each. */
function headWith(logs: Record<string, string>): { connection: Pick<ClusterConnection, 'query'>; readonly asked: string[] } {
  const asked: string[] = [];
  const query = async (_what: string, _args: object, json: string): Promise<unknown> => {
    asked.push(json);
    const from = json === '' ? null : (JSON.parse(json) as Record<string, number>);
    const parts = Object.entries(logs).flatMap(([logId, whole]) => {
      const begin = from === null ? 0 : (from[logId] ?? 0);
      const text = whole.slice(begin).split('\n').slice(0, -1).slice(0, 3).map((line) => `${line}\n`).join('');
      return text === '' ? [] : [{ nodeId: 'node-1', logId, text, endOffset: begin + text.length }];
    });
    return { id: 'job-1', parts, missing: [] };
  };
  return { connection: { query: query as ClusterConnection['query'] }, asked };
}

t.test('output elsewhere is asked for from where it was left, each log under its heading', async (t) => {
  const logs: Record<string, string> = { 'worker-1': 'a\nb\n' };
  const { connection, asked } = headWith(logs);
  const output = new QueriedOutput(connection, 'job-1', { only: null, fromTail: true });
  t.equal(await output.read(), 'a\nb\n', 'the only log needs no heading');
  t.equal(await output.read(), '');
  logs['worker-1'] += 'c\n';
  logs['worker-2'] = 'x\n';
  t.equal(await output.read(), 'c\n==> worker-2 <==\nx\n');
  logs['worker-1'] += 'd\n';
  t.equal(await output.read(), '==> worker-1 <==\nd\n');
  t.same(asked, ['', '{"worker-1":4}', '{"worker-1":4}', '{"worker-1":6,"worker-2":2}']);
});

t.test('a program elsewhere is followed from its beginning, in parts', async (t) => {
  const { connection } = headWith({ 'job-1': '1\n2\n3\n4\n', 'worker-1': 'noise\n' });
  const output = new QueriedOutput(connection, 'job-1', { only: 'job-1', fromTail: false });
  t.same([await output.read(), await output.read(), await output.read()], ['1\n2\n3\n', '4\n', '']);
});

t.test('a TypeScript entry is known by its name, on a Node that cannot run it', async (t) => {
  for (const argv of [['node', 'app.ts'], ['/usr/bin/node', '--enable-source-maps', 'src/app.mts', '--x'], ['env', 'A=1', 'B=', 'node', 'app.ts']]) {
    t.ok(loadsTypeScript(argv, false), argv.join(' '));
    t.notOk(loadsTypeScript(argv, true));
  }
  for (const argv of [['node', 'app.js', 'notes.ts'], ['node', '-e', '1', 'x.ts'], ['tsx', 'app.ts'], ['node', '--import', 'tsx', 'app.ts'], ['env', 'A=1'], ['env', 'A=1', 'tsx', 'app.ts'], []]) t.notOk(loadsTypeScript(argv, false), argv.join(' '));
});
