/** Checkpoints on disk: whole or not there, and never wrong without being noticed. */
import { mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { seededRandom } from '@muster/base';
import t, { type Test } from 'tap';
import { CheckpointFolder } from './checkpoint-folder.js';

const bytes = (text: string): Uint8Array => Buffer.from(text);

async function save(folder: CheckpointFolder, step: number, texts: readonly string[], keep = 3): Promise<void> {
  await folder.commit(step, await Promise.all(texts.map((text, rank) => folder.write(step, rank, [bytes(text), bytes('!')]))), keep);
}

async function texts(folder: CheckpointFolder): Promise<string[][]> {
  const { whole } = await folder.list();
  return Promise.all(whole.map((manifest) => Promise.all(manifest.files.map(async (_, rank) => Buffer.from(await folder.read(manifest, rank)).toString()))));
}

const newFolder = (t: Test): CheckpointFolder => new CheckpointFolder(join(t.testdir(), 'run'));

t.test('a checkpoint counts once it is committed', async (t) => {
  const folder = newFolder(t);
  t.strictSame(await folder.list(), { whole: [], damaged: [] }, 'a folder that is not there holds none');
  await save(folder, 50, ['a', 'b']);
  await folder.write(100, 0, [bytes('c')]);
  t.strictSame(await texts(folder), [['a!', 'b!']]);
  t.match((await folder.list()).whole[0], { step: 50, ranks: 2, files: [{ name: 'rank-0', sizeBytes: 2 }, { name: 'rank-1', sizeBytes: 2 }] });
  await folder.sweep();
  t.strictSame(await readdir(folder.path), ['step-50'], 'what was never committed is swept away');
});

t.test('the newest few are kept', async (t) => {
  const folder = newFolder(t);
  for (const step of [9, 10, 100, 101]) await save(folder, step, [`s${step}`], 2);
  t.strictSame(await texts(folder), [['s101!'], ['s100!']]);
  await save(folder, 101, ['again']);
  t.strictSame((await texts(folder))[0], ['again!'], 'one that is written again replaces the first');
});

t.test('damage is found, and said', async (t) => {
  const folder = newFolder(t);
  for (const step of [1, 2, 3, 4, 5]) await save(folder, step, ['first rank', 'second rank'], 9);
  const file = (step: number, name: string): string => join(folder.path, `step-${step}`, name);
  await truncate(file(5, 'rank-1'), 3);
  await rm(file(4, 'rank-0'));
  await writeFile(file(3, 'manifest.json'), (await readFile(file(3, 'manifest.json'), 'utf8')).slice(0, 40));
  await writeFile(file(2, 'rank-1'), 'sEcond rank!');
  await mkdir(join(folder.path, 'notes'));
  const { whole, damaged } = await folder.list();
  t.strictSame(whole.map(({ step }) => step), [2, 1]);
  t.match(damaged, [/step-5: rank-1 has 3 bytes of 12/, /step-4: ENOENT.*rank-0/, /step-3: .*JSON/]);
  t.equal(Buffer.from(await folder.read(whole[0]!, 0)).toString(), 'first rank!');
  await t.rejects(folder.read(whole[0]!, 1), { message: /rank-1 of step 2 has other contents than were written/ });
});

t.test('a disk that takes nothing is a clear error, and earlier checkpoints stay', async (t) => {
  const folder = newFolder(t);
  await save(folder, 1, ['a']);
  await writeFile(join(folder.path, 'step-2.draft'), 'in the way');
  await t.rejects(folder.write(2, 0, [bytes('b')]), { code: 'STORAGE', message: /step-2.draft\/rank-0 could not be written: E/ });
  t.strictSame(await texts(folder), [['a!']]);
});

t.test('a folder is made ready, or what stands in its way is told', async (t) => {
  const folder = new CheckpointFolder(join(t.testdir({ file: 'no folder' }), 'a', 'b'));
  await folder.prepare();
  await folder.prepare();
  t.strictSame(await readdir(folder.path), [], 'nothing of the trial is left');
  const file = join(folder.path, '..', '..', 'file');
  for (const [path, cause] of [[file, /file could not be written: it is no folder/], [join(file, 'run'), /run could not be written: ENOTDIR/], ['/proc/self', /\/proc\/self could not be written: ENOENT/], ['/proc/none', /\/proc\/none could not be written: ENOENT/]] as const) {
    await t.rejects(new CheckpointFolder(path).prepare(), { code: 'STORAGE', message: cause });
  }
});

t.test('whatever is cut off or turned around is found', async (t) => {
  const random = seededRandom(7);
  const folder = newFolder(t);
  await save(folder, 1, ['first rank', 'second rank']);
  const whole = await texts(folder);
  for (const name of ['manifest.json', 'rank-0', 'rank-1']) {
    const file = join(folder.path, 'step-1', name);
    const good = await readFile(file);
    for (let round = 0; round < 60; round++) {
      const bad = Buffer.from(good);
      const at = Math.floor(random.next() * good.length);
      bad[at]! ^= 1 << Math.floor(random.next() * 8);
      await writeFile(file, round % 2 === 0 ? good.subarray(0, at) : bad);
      const found = await texts(folder).catch(() => []);
      t.ok(found.length === 0 || isDeepStrictEqual(found, whole), `${name}, ${round % 2 === 0 ? 'cut off' : 'turned around'} at ${at}`); // a space may be another
    }
    await writeFile(file, good);
  }
  t.strictSame(await texts(folder), whole);
});
