import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { loadsTypeScript } from './job-spec.js';
import { FileOutput, readSections, textAfter } from './output-source.js';

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

t.test('an answer with several logs is told apart by its headings', async (t) => {
  t.strictSame(readSections('==> job-1 <==\na\nb\n\n==> worker-2 <==\nc\n'), [{ logId: 'job-1', text: 'a\nb\n' }, { logId: 'worker-2', text: 'c\n' }]);
  t.strictSame(readSections('a\nb\n'), [{ logId: '', text: 'a\nb\n' }]);
});

t.test('of a log whose beginning has moved, what is new is found', async (t) => {
  t.equal(textAfter('', 'a\n'), 'a\n');
  t.equal(textAfter('a\n', 'a\nb\n'), 'b\n');
  const lines = Array.from({ length: 1000 }, (_, i) => `line ${i}\n`);
  t.equal(textAfter(lines.slice(0, 900).join(''), lines.slice(300).join('')), lines.slice(900).join(''));
  t.match(textAfter(lines.slice(0, 100).join(''), lines.slice(500).join('')), /^… more was printed than could be followed\nline 500\n/);
});

t.test('a TypeScript entry is known by its name, on a Node that cannot run it', async (t) => {
  for (const argv of [['node', 'app.ts'], ['/usr/bin/node', '--enable-source-maps', 'src/app.mts', '--x']]) {
    t.ok(loadsTypeScript(argv, false), argv.join(' '));
    t.notOk(loadsTypeScript(argv, true));
  }
  for (const argv of [['node', 'app.js', 'notes.ts'], ['node', '-e', '1', 'x.ts'], ['tsx', 'app.ts'], ['node', '--import', 'tsx', 'app.ts'], []]) t.notOk(loadsTypeScript(argv, false), argv.join(' '));
});
