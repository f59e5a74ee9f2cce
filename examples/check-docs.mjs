/**
 * Checks what the documentation says against the code, and exits with 1 when they differ:
 *   - every TypeScript block type-checks. The blocks of a page are one program: a later one sees what earlier ones declare, and may declare it anew;
 *   - the error table in docs/failures.md is the one in @muster/base (`--write` puts it there);
 *   - relative links lead to files;
 *   - with `--run`, every page runs to its end. Blocks marked `ts no-run` are left out: they need a cluster elsewhere.
 *
 *     node examples/check-docs.mjs [--write] [--run]
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const pages = ['README.md', ...readdirSync(join(root, 'docs'), { recursive: true }).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`).sort()];
const problems = [];
/** The pages take a few seconds each. */
const RUN_TIMEOUT_MS = 60_000;
/** The table itself is no part of what users import, so it is read where it is compiled. */
const { ERROR_TABLE } = await import(pathToFileURL(join(root, 'packages/base/dist/errors.js')).href);

// ---------------------------------------------------------------- code

/**
 * A page as a module with the page's own line numbers. Each block opens a scope inside of the scope of the block before it; imports, which
 * cannot stand in a scope, move to the first line.
 */
function programOf(text, isForRun) {
  const imports = new Map();
  let depth = 0;
  let inBlock = false;
  const lines = text.split('\n').map((line) => {
    if (/^```ts\b/.test(line) && !(isForRun && line.endsWith('no-run'))) {
      inBlock = true;
      depth++;
      return '{';
    }
    if (inBlock && line === '```') inBlock = false;
    if (!inBlock) return '';
    const [, names, source] = /^import \{ (.*) \} from '(.*)';$/.exec(line) ?? [];
    if (!names) return line;
    for (const name of names.split(', ')) imports.set(`${name} ${source}`, `import { ${name} } from '${source}';`);
    return '';
  });
  lines[0] = `export {}; ${[...imports.values()].join(' ')}`;
  return lines.join('\n') + '}'.repeat(depth);
}

const fileOf = (page) => page.replaceAll('/', '-').replace('.md', '.ts');

/** Calls with a folder that holds all pages as programs, and from which the repository's packages resolve. */
function withPrograms(isForRun, use) {
  const folder = mkdtempSync(join(tmpdir(), 'muster-docs-'));
  try {
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    const compilerOptions = { composite: false, declaration: false, noEmit: true, noUnusedLocals: false };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ extends: join(root, 'tsconfig.base.json'), compilerOptions, include: ['*.ts'] }));
    for (const page of pages) writeFileSync(join(folder, fileOf(page)), programOf(readFileSync(join(root, page), 'utf8'), isForRun));
    use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Runs Node in a folder and returns what it printed when it failed. */
function complaintsOf(folder, ...args) {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8', timeout: RUN_TIMEOUT_MS });
  return status === 0 ? '' : `${stdout}${stderr}${signal ? `ended by ${signal}` : ''}`.trim();
}

/** Runs the compiler on all pages at once. */
function checkCode() {
  const compiler = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');
  withPrograms(false, (folder) => {
    const complaints = complaintsOf(folder, compiler, '-p', folder, '--pretty', 'false');
    if (complaints) problems.push(pages.reduce((text, page) => text.replaceAll(`${fileOf(page)}(`, `${page}(`), complaints));
  });
}

function runCode() {
  withPrograms(true, (folder) => {
    for (const page of pages) {
      const complaints = complaintsOf(folder, '--import', 'tsx', fileOf(page));
      if (complaints) problems.push(`${page} does not run to its end:\n${complaints}`);
    }
  });
}

// ---------------------------------------------------------------- the error table

const TABLE = /(<!-- errors: node examples\/check-docs\.mjs --write -->\n)([^]*?)(<!-- \/errors -->)/;

function errorTable() {
  const prose = (text) => text.replace(/`[^`]*`/g, (code) => code.replace(/\{(\w+)\}/g, '<$1>')).replace(/\{(\w+)\}/g, '*$1*').replace(/\s+/g, ' ');
  const rows = Object.entries(ERROR_TABLE).map(([code, { name, retryable, message, remedy }]) =>
    `| \`${name}\`<br>\`${code}\` | ${retryable ? 'yes' : 'no'} | ${prose(message)}. | ${prose(remedy)} |`);
  return ['| class, code | `retryable` | message | what to do |', '| --- | --- | --- | --- |', ...rows, ''].join('\n');
}

function checkErrorTable() {
  const file = join(root, 'docs/failures.md');
  const text = readFileSync(file, 'utf8');
  const table = TABLE.exec(text)?.[2];
  if (table === errorTable()) return;
  if (table !== undefined && process.argv.includes('--write')) writeFileSync(file, text.replace(TABLE, (_, open, __, close) => open + errorTable() + close));
  else problems.push('docs/failures.md: the error table is not that of @muster/base; run `node examples/check-docs.mjs --write`');
}

// ---------------------------------------------------------------- links

function checkLinks() {
  for (const page of pages) {
    const prose = readFileSync(join(root, page), 'utf8').replace(/```[^]*?```/g, '');
    for (const [, target] of prose.matchAll(/\]\((?!https?:|#)([^)#]+)[^)]*\)/g)) {
      const file = resolve(root, dirname(page), target);
      if (!existsSync(file)) problems.push(`${page}: the link to ${relative(root, file)} leads nowhere`);
    }
  }
}

checkCode();
if (process.argv.includes('--run')) runCode();
checkErrorTable();
checkLinks();
for (const problem of problems) console.error(problem);
if (problems.length === 0) console.log(`${pages.length} pages agree with the code`);
process.exitCode = problems.length === 0 ? 0 : 1;
