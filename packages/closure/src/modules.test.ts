/** What functions refer to: modules of all kinds, loaded by the process that revives. */
import { execFileSync, spawnSync } from 'node:child_process';
import t from 'tap';
import { MusterError } from '@muster/base';
import { capture, preload, revive } from './index.js';
import { encodeGraph, type ModuleReference } from './nodes.js';
import { environment, makeProject } from './testing/project.js';
import { WorkerProcess } from './testing/worker-process.js';

const project = makeProject('module');
const worker = await WorkerProcess.start([]);
t.teardown(async () => {
  await worker.stop();
  project.remove();
});

const { default: defaultFunction, helper } = await import(project.url('helper.js')) as { default: () => string; helper: (x: number) => number };

/** The message of a value that a module exports. */
function memberOf(module: ModuleReference, ...path: readonly string[]): Uint8Array {
  return encodeGraph({ root: [0], nodes: [{ kind: 'module', module: 0, path }] }, [module]);
}

t.test('preload answers undefined once the modules are there', async (t) => {
  const bytes = capture(() => helper(1));
  const parent = project.url('parent.js');
  const fresh = memberOf({ kind: 'import', parent, specifier: './helper.js' }, 'helper');
  t.throws(() => revive(fresh), { code: 'INTERNAL' }, 'revive does not load');
  const loading = preload(fresh);
  t.ok(loading instanceof Promise);
  await loading;
  t.equal(preload(fresh), undefined);
  t.equal(revive(fresh), helper);
  await preload(bytes);
  t.equal(preload(bytes), undefined);
  t.equal(preload(capture({ plain: true })), undefined);
  t.equal(preload(capture(() => spawnSync)), undefined, 'builtin modules need no loading');
});

t.test('exports of a module go by reference, also a default export without a name', (t) => {
  for (const [fn, name] of [[helper, 'helper'], [defaultFunction, 'default']] as const) {
    const text = Buffer.from(capture(fn)).toString('latin1');
    t.match(text, `${name}`);
    t.notMatch(text, 'return', 'and not its source');
  }
  t.end();
});

t.test('a module that is missing is named, with the file that imports it', async (t) => {
  const parent = project.url('main.js');
  const failure = await preload(memberOf({ kind: 'import', parent, specifier: './nowhere.js' }, 'x'))?.catch((error: unknown) => error);
  t.match(failure, { code: 'RUNTIME_ENV', message: /'\.\/nowhere\.js', imported by file:.*main\.js/ });
  const broken = project.write('broken.js', 'throw new Error("it breaks while loading");');
  await t.rejects(preload(memberOf({ kind: 'import', parent, specifier: broken }, 'x')) ?? Promise.resolve(), { code: 'RUNTIME_ENV', message: /it breaks while loading/ });
  await t.rejects(preload(memberOf({ kind: 'require', parent, specifier: 'no-such-package' })) ?? Promise.resolve(), { code: 'RUNTIME_ENV', message: /no-such-package/ });
});

t.test('an export that is missing is named', async (t) => {
  const bytes = memberOf({ kind: 'import', parent: project.url('main.js'), specifier: './helper.js' }, 'nothing');
  await preload(bytes);
  t.throws(() => revive(bytes), { code: 'RUNTIME_ENV', message: /exports no 'nothing'/ });
  t.throws(() => revive(memberOf({ kind: 'builtin', name: 'node:none' })), { code: 'RUNTIME_ENV', message: /no such module/ });
  t.end();
});

t.test('TypeScript modules load in a process that was not started for them', async (t) => {
  project.write('folder/enums.ts', "export enum Level { High = 7 }\nexport { helper } from '../typed.js';");
  const bytes = memberOf({ kind: 'import', parent: project.url('main.ts'), specifier: './folder/enums.js' }, 'helper');
  const reply = await worker.ask({ bytes, parameters: [capture(1)] });
  t.equal(reply.text, '101', reply.message ?? 'it answers');
  t.equal(worker.stderr, '');
});

t.test('what a worker imported travels on as the same reference', async (t) => {
  const bytes = memberOf({ kind: 'import', parent: project.url('main.js'), specifier: './helper.js' }, 'Registered');
  const { value } = await worker.ask({ bytes, give: 'itself' });
  await preload(value as Uint8Array);
  t.equal(revive(value as Uint8Array), (await import(project.url('helper.js')) as { Registered: unknown }).Registered);
});

t.test('an imported object goes by reference in code, and by value in data', async (t) => {
  const counter = memberOf({ kind: 'import', parent: project.url('main.js'), specifier: './helper.js' }, 'obj');
  const increment = capture((obj: { count: number }) => [++obj.count, () => ++obj.count]);
  const { value } = await worker.ask({ bytes: increment, parameters: [counter], give: 'result' });
  await preload(value as Uint8Array);
  const [count, again] = revive(value as Uint8Array) as [number, () => number];
  t.equal(count, 1);
  t.equal(again(), 1, 'the code means the object of this process, which nobody counted yet');
});

t.test('the main script is never imported by a worker', (t) => {
  project.write('needs-main.js', `
    import { state } from './entry.js';
    import { capture } from '@muster/closure';
    const inner = () => state.name;
    export const bytesOf = () => capture(inner);`);
  const entry = project.write('entry.js', `
    export const state = { name: 'in main' };
    import('./needs-main.js').then(({ bytesOf }) => console.log(Buffer.from(bytesOf()).toString('latin1').includes('"specifier":"./entry.js"')));`);
  t.equal(execFileSync(process.execPath, [entry], { encoding: 'utf8' }).trim(), 'false');
  t.end();
});

t.test('files that vitest has compiled', (t) => {
  const file = project.write('unit.test.ts', '');
  const main = project.write('vite.js', `
    import vm from 'node:vm';
    import { capture, revive } from '@muster/closure';
    const code = \`'use strict';async (__vite_ssr_exports__,__vite_ssr_import_meta__,__vite_ssr_import__,__vite_ssr_dynamic_import__,__vite_ssr_exportAll__)=>{{
    const __vite_ssr_import_0__ = await __vite_ssr_import__("node:path", {"importedNames":["basename"]});
    const __vite_ssr_import_1__ = await __vite_ssr_import__("/node_modules/lists/index.js", {"importedNames":["chunk"]});
    const limit = 2;
    let count = 0;
    function up() { count += 1; return count; }
    __vite_ssr_exports__.fns = [() => (0,__vite_ssr_import_0__.basename)("/a/b") + (0,__vite_ssr_import_1__.chunk)([1, 2, 3], limit), () => [up(), count]];
    }}\`;
    const exports = {};
    await new vm.Script(code, { filename: ${JSON.stringify(file)} }).runInThisContext()(exports, {}, (url) => import(url.startsWith('node:') ? url : process.cwd() + url));
    const foreign = (bytes) => Buffer.from(Buffer.from(bytes).toString('latin1').replace(/[0-9a-f]{16}-/g, '0'.repeat(16) + '-'), 'latin1');
    const { preload } = await import('@muster/closure');
    for (const fn of exports.fns) { const bytes = foreign(capture(fn)); await preload(bytes); console.log(JSON.stringify(revive(bytes)())); }`);
  t.equal(execFileSync(process.execPath, [main], { encoding: 'utf8', cwd: project.directory }), '"b1,2,3"\n[1,1]\n');
  t.end();
});

t.test('only one warning is held back', (t) => {
  const main = project.write('warns.js', `
    import vm from 'node:vm';
    import { capture, preload, revive } from '@muster/closure';
    const load = async () => (await import('node:os')).EOL;
    const bytes = capture(load);
    await revive(Buffer.from(Buffer.from(bytes).toString('latin1').replace(/[0-9a-f]{16}-/g, '0'.repeat(16) + '-'), 'latin1'))();
    process.emitWarning('this one is seen', 'ExperimentalWarning');`);
  const { stderr } = spawnSync(process.execPath, [main], { encoding: 'utf8', env: environment });
  t.match(stderr, 'this one is seen');
  t.notMatch(stderr, 'USE_MAIN_CONTEXT');
  t.end();
});

function early(): unknown { return notYet; }
let refusal: unknown;
try {
  capture({ early });
} catch (error) {
  refusal = error;
}
const notYet = { declared: 'late' };

t.test('a variable that is not initialised is named', (t) => {
  t.match(refusal, { code: 'CAPTURE', details: { path: '<value> -> early -> notYet' }, message: /'notYet' is not initialised/ });
  t.end();
});

t.test('the stack shows where the code was written', async (t) => {
  const here = new Error().stack?.split('\n')[1] ?? '';
  const there = await worker.call(() => new Error().stack?.split('\n')[1] ?? '');
  const lineOf = (frame: string): number => Number(/:(\d+):\d+\)?$/.exec(frame)?.[1]);
  t.equal(lineOf(there), lineOf(here) + 1);
  t.match(there, 'modules.test.js');
});

t.test('errors of users and of the system keep their classes', async (t) => {
  const failure = await worker.call(() => { throw Object.assign(new RangeError('mine'), { code: 'E' }); }).catch((error: unknown) => error);
  t.ok(failure instanceof RangeError);
  t.match(failure, { code: 'E' });
  const system = await worker.call(() => { const never: Promise<unknown> = Promise.resolve(); return [never]; }).catch((error: unknown) => error);
  t.ok(system instanceof MusterError);
  t.match(system, { code: 'CAPTURE', details: { path: '<Array> -> [0]' } });
});
