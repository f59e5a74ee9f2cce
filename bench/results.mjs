/**
 * Where results are kept: bench/results/ has a page for each benchmark with all that it measured, and beside it what the page says of targets, as JSON. Of these
 * bench/RESULTS.md is made: a line for each target. Every benchmark writes its page and then the summary.
 *
 * @typedef {object} PageResults
 * @property {string} page The page's file in bench/results/, without its ending.
 * @property {string} title
 * @property {readonly (readonly [string, string])[]} facts Of which `date` and `commit` are needed.
 * @property {readonly import('./report.mjs').TargetRow[]} targets
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { renderSuites, renderSummary, suiteTargetRow } from './report.mjs';
import { SUITE_PAGES } from './targets.mjs';

/** Where results go unless a benchmark is told another folder, in which it then makes a summary of that folder's pages alone. */
export const RESULTS_FOLDER = fileURLToPath(new URL('.', import.meta.url));

/** The pages in the order in which the summary shows them. */
const PAGES = ['core', 'scheduler', 'native', 'gpu', 'train', 'tune', 'tune-trials'];

/** @param {string} folder @param {PageResults & { markdown: string }} results */
export function saveResults(folder, { page, title, facts, targets, markdown }) {
  mkdirSync(join(folder, 'results'), { recursive: true });
  writeFileSync(join(folder, 'results', `${page}.md`), markdown);
  const { date, commit } = Object.fromEntries(facts);
  writeFileSync(join(folder, 'results', `${page}.json`), `${JSON.stringify({ title, date, commit, targets }, null, 2)}\n`);
  saveSummary(folder);
}

/**
 * The same of a page that has a line for each record.
 * @param {string} folder @param {string} page
 * @param {{ facts: readonly (readonly [string, string])[], measured: readonly import('./report.mjs').Measured[] }} results `measured` as many as the page has suites, in their order
 */
export function saveSuites(folder, page, { facts, measured }) {
  const suitePage = SUITE_PAGES.find((one) => one.page === page);
  const suites = suitePage.suites.map((suite, i) => ({ ...suite, ...measured[i] }));
  saveResults(folder, { page, title: suitePage.title, facts, targets: targetRowsOf(suites), markdown: renderSuites(suitePage, { facts, suites }) });
}

const targetRowsOf = (suites) => suites.flatMap(({ targets, records }) => targets.map((target) => suiteTargetRow(target, records)));

/** Makes the summary anew from what is kept. */
export function saveSummary(folder) {
  writeFileSync(join(folder, 'RESULTS.md'), renderSummary(PAGES.map((page) => readPage(folder, page)).filter((kept) => kept !== null)));
}

/** What is kept of a page; where it was never measured, its targets alone, or null where these are not known without a measurement. */
function readPage(folder, page) {
  const file = join(folder, 'results', `${page}.json`);
  if (existsSync(file)) return { page, ...JSON.parse(readFileSync(file, 'utf8')) };
  const suitePage = SUITE_PAGES.find((one) => one.page === page);
  return suitePage ? { ...suitePage, page: null, targets: targetRowsOf(suitePage.suites.map((suite) => ({ ...suite, records: [] }))) } : null;
}
