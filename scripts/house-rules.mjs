/** The rules of the house that a program can hold: what may import what, and what a source file may hold. */
import { existsSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, normalize } from 'node:path';
import { filesUnder } from './fingerprint.mjs';
import { codeOf, importsOf } from './source-text.mjs';
import { manifestOf, workspaceFolders } from './workspaces.mjs';

const LINES_MAX = 500;
const SOURCE_FOLDERS = ['packages', 'scheduler', 'native', 'proto', 'examples', 'test', 'bench', 'scripts', '.ci'];
const SOURCE_ENDINGS = /\.(ts|mts|mjs|js|cc|h|cu|cuh|proto|sh|py)$/;

/** What each package may import of the others. Everything that is not named here is a library. */
const ARROWS = {
  base: [],
  scheduler: ['base'],
  protocol: ['base'],
  native: ['base'],
  closure: ['base'],
  store: ['base', 'scheduler', 'protocol', 'native', 'closure'],
  core: ['base', 'scheduler', 'protocol', 'native', 'closure', 'store'],
  worker: ['base', 'scheduler', 'protocol', 'native', 'closure', 'store', 'core'],
  head: ['base', 'scheduler', 'protocol'],
  daemon: ['base', 'protocol', 'native', 'store'],
  collective: ['base', 'native', 'core'],
  tensor: ['base', 'native'],
};
/** Programs that put the parts together. */
const COMPOSERS = new Set(['cli', 'sim', 'test']);
/** Libraries and examples see of the lower floors what users see; libraries also share the error table and the ports. */
const PUBLIC = new Set(['core', 'collective', 'tensor']);
const SHARED_BY_LIBRARIES = 'base';
/** The parts of native that users see: the arithmetic of mixed precision. */
const PUBLIC_PARTS = new Set(['@muster/native/kernels', '@muster/native/loss-scaler']);
/** Parts of a package that are for these packages only. */
const INTERNAL = { '@muster/core/internal': ['worker', 'sim', 'test'] };

/** In machines and in the scheduler the world comes in as events. */
const IMPURE = /\b(?:Date|performance|setTimeout|setInterval|setImmediate|queueMicrotask|Math\.random|FinalizationRegistry|async|await|console|process\.(?:env|argv|exit|nextTick|hrtime|pid|cwd|kill|stdout|stderr|memoryUsage|uptime)|globalThis)\b/;
/** What Node offers and that only computes. */
const PURE_MODULES = new Set(['node:string_decoder', 'node:util', 'node:buffer', 'node:assert']);
const PURE_FOLDERS = /(?:^|\/)machine\/|^scheduler\/src\//;

/**
 * @typedef {{ path: string, text: string, folder: string, package: string }} SourceFile
 * @typedef {{ rule: string, violations: (files: readonly SourceFile[]) => string[] }} HouseRule
 */

/** Every source file that people wrote. @returns {SourceFile[]} */
export function sourceFiles() {
  const folders = workspaceFolders();
  return filesUnder(...SOURCE_FOLDERS).filter((path) => SOURCE_ENDINGS.test(path) && !path.includes('/generated/')).map((path) => {
    const folder = folders.find((candidate) => path.startsWith(`${candidate}/`)) ?? path.split('/')[0];
    return { path, text: readFileSync(path, 'utf8'), folder, package: folder.split('/').at(-1) };
  });
}

const isTypeScript = (file) => /\.m?ts$/.test(file.path);
const isTest = (file) => /\.test\.m?ts$/.test(file.path) || /\/(test-support|testing|fixtures)\//.test(file.path) || file.path.startsWith('test/') || /^native\/(test|bench)\//.test(file.path);
const isExample = (file) => file.folder === 'examples' || file.folder === 'bench';
const packageOf = (specifier) => specifier.split('/').slice(0, specifier.startsWith('@') ? 2 : 1).join('/');

/** @type {HouseRule[]} */
export const HOUSE_RULES = [
  {
    rule: 'imports between packages follow the arrows',
    violations: (files) => imports(files).flatMap(({ file, specifier, place }) => {
      if (!specifier.startsWith('@muster/') || COMPOSERS.has(file.package)) return [];
      const target = packageOf(specifier).slice('@muster/'.length);
      if (target === file.package) return [];
      const isOpen = PUBLIC.has(target) || PUBLIC_PARTS.has(specifier) || (target === SHARED_BY_LIBRARIES && !isExample(file)) || !(target in ARROWS || COMPOSERS.has(target));
      const allowed = file.package in ARROWS ? ARROWS[file.package].includes(target) : isOpen;
      return allowed ? [] : [`${place}: ${file.package} may not import ${specifier}`];
    }),
  },
  {
    rule: 'packages are imported by their public names only',
    violations: (files) => imports(files).flatMap(({ file, specifier, place }) => {
      if (specifier.startsWith('.')) {
        const target = normalize(join(dirname(file.path), specifier));
        return target.startsWith(`${file.folder}/`) ? [] : [`${place}: ${specifier} reaches into another package`];
      }
      if (specifier in INTERNAL && !INTERNAL[specifier].includes(file.package)) return [`${place}: ${specifier} is for ${INTERNAL[specifier].join(', ')} only`];
      if (!specifier.startsWith('@muster/')) return [];
      const exports = exportsOf(packageOf(specifier));
      const subpath = `.${specifier.slice(packageOf(specifier).length)}`;
      return exports === undefined || subpath in exports ? [] : [`${place}: ${specifier} is not exported`];
    }),
  },
  {
    rule: 'imported packages are declared',
    violations: (files) => imports(files).flatMap(({ file, specifier, place }) => {
      const name = packageOf(specifier);
      const manifest = manifestOf(file.folder);
      if (!manifest || specifier.startsWith('.') || specifier.startsWith('node:') || builtinModules.includes(name) || name === manifest.name) return [];
      const declared = { ...manifest.dependencies, ...(isTest(file) ? { ...manifest.devDependencies, ...manifestOf('.').devDependencies } : {}) };
      return name in declared || (isTest(file) && COMPOSERS.has(file.package)) ? [] : [`${place}: ${name} is not among the dependencies of ${manifest.name}`];
    }),
  },
  { rule: 'no module imports itself over others', violations: importCircles },
  {
    rule: 'machines do no I/O and know no time, chance or waiting',
    violations: (files) => files.filter((file) => isTypeScript(file) && !isTest(file) && PURE_FOLDERS.test(file.path)).flatMap((file) => [
      ...importsOf(file.text).filter(({ specifier }) => (specifier.startsWith('node:') && !PURE_MODULES.has(specifier)) || /\/io\//.test(specifier)).map(({ specifier, line }) => `${file.path}:${line}: imports ${specifier}`),
      ...codeOf(file.text).split('\n').flatMap((text, index) => {
        const word = IMPURE.exec(text)?.[0];
        return word ? [`${file.path}:${index + 1}: uses ${word}`] : [];
      }),
    ]),
  },
  {
    rule: 'nothing is put off',
    violations: (files) => files.flatMap((file) => linesWith(file, new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX', 'HA' + 'CK'].join('|')})\\b`))),
  },
  {
    rule: `source files have at most ${LINES_MAX} lines`,
    violations: (files) => files.map((file) => ({ path: file.path, lines: file.text.trimEnd().split('\n').length }))
      .filter(({ lines }) => lines > LINES_MAX).map(({ path, lines }) => `${path}: ${lines} lines`),
  },
];

/** The violations of each rule, by the rule's words. */
export function checkHouse(files = sourceFiles()) {
  return HOUSE_RULES.map(({ rule, violations }) => ({ rule, violations: violations(files) }));
}

function imports(files) {
  return files.filter((file) => isTypeScript(file) && !(isExample(file) && file.package !== 'examples')).flatMap((file) =>
    importsOf(file.text).map(({ specifier, isType, line }) => ({ file, specifier, isType, place: `${file.path}:${line}` })));
}

function exportsOf(packageName) {
  const folder = workspaceFolders().find((candidate) => manifestOf(candidate)?.name === packageName);
  return folder && (manifestOf(folder).exports ?? {});
}

function linesWith(file, pattern) {
  return file.text.split('\n').flatMap((text, index) => (pattern.test(text) ? [`${file.path}:${index + 1}: ${text.trim()}`] : []));
}

/** Circles among modules at run time; a circle of types alone is gone by then. */
function importCircles(files) {
  const graph = new Map(files.filter(isTypeScript).map((file) => [file.path, importsOf(file.text)
    .filter(({ specifier, isType }) => specifier.startsWith('.') && !isType)
    .map(({ specifier }) => normalize(join(dirname(file.path), specifier)).replace(/\.(m?)js$/, '.$1ts'))]));
  const circles = [];
  const state = new Map();
  const visit = (path, trail) => {
    if (state.get(path) === 'done' || !graph.has(path)) return;
    if (state.get(path) === 'open') {
      circles.push([...trail.slice(trail.indexOf(path)), path].join(' -> '));
      return;
    }
    state.set(path, 'open');
    for (const target of graph.get(path)) visit(target, [...trail, path]);
    state.set(path, 'done');
  };
  for (const path of graph.keys()) visit(path, []);
  return circles;
}
