/**
 * Reports of benchmarks: what was measured in, Markdown out. Pure; knows how tables and targets are written, not how anything was run.
 *
 * @typedef {object} TargetRow What the summary says of one target: all in words, '' where there is nothing to say.
 * @property {string} figure
 * @property {string} ours
 * @property {string} peer Who, and its value.
 * @property {string} ratio
 * @property {string} target
 * @property {'met' | '**missed**' | 'not measured'} verdict
 *
 * @typedef {object} Series One side's record over the rounds.
 * @property {string} who `Muster`, or a peer with its version.
 * @property {string} name
 * @property {string} unit
 * @property {readonly number[]} values One a round, in order.
 *
 * @typedef {object} Row One comparison after all of its rounds.
 * @property {string} name
 * @property {import('./comparisons.mjs').Target} [target]
 * @property {Series | null} ours `null` where it failed.
 * @property {readonly { against: import('./comparisons.mjs').Against, series: Series | null }[]} peers
 * @property {readonly string[]} failures What went wrong, in words.
 */
import { reaches } from './comparisons.mjs';
import { median } from './peers/measure.mjs';
import { formatValue } from './records.mjs';

/**
 * @param {{ facts: readonly (readonly [string, string])[], skipped: readonly string[], rows: readonly Row[] }} results
 * @returns {string}
 */
export function renderMarkdown({ facts, skipped, rows }) {
  const failures = rows.flatMap((row) => row.failures.map((failure) => `- ${row.name}: ${failure}`));
  return [
    '# Core benchmark',
    '',
    'Made by `node bench/core.mjs`. Values are medians of the rounds, and a ratio is Muster\'s median divided by the',
    'peer\'s. In every round Muster and its peers ran one after another. What each name measures stands in',
    '[core-names.md](../core-names.md).',
    '',
    ...table(['', ''], facts),
    '',
    ...skipped.map((reason) => `Skipped: ${reason}.\n`),
    '## Comparisons',
    '',
    ...table(['measurement', 'unit', 'Muster', 'beside', 'its value', 'ratio', 'target', ''], rows.flatMap(comparisonsOf).map(comparisonLine)),
    '',
    ...(failures.length ? ['## Failures', '', ...failures, ''] : []),
    '## Every round',
    '',
    ...table(['measurement', 'whose', 'unit', 'values in order'], rows.flatMap(roundLines)),
    '',
  ].join('\n');
}

/**
 * A page with a line for each record.
 * @param {import('./targets.mjs').SuitePage} page
 * @param {{ facts: readonly (readonly [string, string])[], suites: readonly (import('./targets.mjs').Suite & Measured)[] }} results
 * @returns {string}
 *
 * @typedef {{ notes: readonly string[], records: readonly import('./records.mjs').BenchRecord[] }} Measured
 */
export function renderSuites({ title, script }, { facts, suites }) {
  return [
    `# ${title}`,
    '',
    `Made by \`node ${script}\`. Values are medians of rounds in which Muster and its peers took turns, and a ratio is`,
    'the median of the rounds\' ratios.',
    '',
    ...table(['', ''], facts),
    '',
    ...suites.flatMap(({ title: heading, notes, records, targets }) => [
      `## ${heading}`,
      '',
      ...notes.map((note) => `${note}\n`),
      ...(records.length > 0 ? [...table(['measurement', 'unit', 'value', 'target', ''], records.map((record) => recordLine(record, targets))), ''] : []),
      ...targets.filter(({ name }) => !records.some((record) => record.name === name)).map(({ name, unit = 'ratio', ...target }) => `Not measured: ${name}, ${formatTarget(target, suffixOf(unit))}.\n`),
    ]),
  ].join('\n');
}

function recordLine({ name, unit, value }, targets) {
  const target = targets.find((one) => one.name === name) ?? {};
  return [name, unit, formatValue(value), formatTarget(target, suffixOf(unit)), formatVerdict(value, target)];
}

const suffixOf = (unit) => (unit === 'ratio' ? '×' : ` ${unit}`);

/**
 * What the summary says of a suite's target.
 * @param {import('./targets.mjs').SuiteTarget} target @param {readonly import('./records.mjs').BenchRecord[]} records none where it was not measured
 * @returns {TargetRow}
 */
export function suiteTargetRow({ figure, name, ours, unit = 'ratio', peer, ...target }, records) {
  const record = records.find((one) => one.name === name);
  const beside = peer && records.find((one) => (typeof peer === 'string' ? one.name.startsWith(peer) : peer.test(one.name)));
  const shown = (one) => (one ? `${formatValue(one.value)}${suffixOf(one.unit)}` : '');
  return {
    figure, ours: shown(ours === undefined ? record : records.find((one) => one.name === ours)),
    peer: beside ? `${beside.name.replace(`${figure}, `, '')}: ${shown(beside)}` : '',
    ratio: ours !== undefined && record ? shown(record) : '',
    target: formatTarget(target, suffixOf(unit)), verdict: record ? formatVerdict(record.value, target) : 'not measured',
  };
}

/**
 * The page of all targets.
 * @param {readonly { page: string | null, title: string, script?: string, needs?: string, date?: string, commit?: string, targets: readonly TargetRow[] }[]} pages `page` is null of
 *   what was never measured, and then `script` says what does it.
 * @returns {string}
 */
export function renderSummary(pages) {
  const heads = ['figure', 'Muster', 'peer', 'ratio', 'target', '', 'commit', 'date'];
  const verdicts = pages.flatMap(({ targets }) => targets.map(({ verdict }) => verdict));
  const count = (verdict) => verdicts.filter((one) => one === verdict).length;
  return [
    '# Benchmarks and their targets',
    '',
    'Every target, and what was measured last. The benchmarks write this page: each its own part, beside a page with all that it measured and where.',
    `Of ${verdicts.length} targets ${count('met')} are met, ${count('**missed**')} are missed, and ${count('not measured')} were not measured yet.`,
    '',
    ...pages.flatMap(({ page, title, script, needs, date = '', commit = '', targets }) => [
      page === null ? `## ${title}` : `## [${title}](results/${page}.md)`,
      '',
      ...(page === null ? [`Not measured yet: \`node ${script}\` does it${needs ? `, from ${needs}` : ''}.`, ''] : []),
      ...table(heads, targets.map(({ figure, ours, peer, ratio, target, verdict }) => [figure, ours, peer, ratio, target, verdict, ...(verdict === 'not measured' ? ['', ''] : [commit, date.slice(0, 10)])])),
      '',
    ]),
  ].join('\n');
}

/** The lines of a row: one for each peer, and one for a limit on Muster's own value. */
function comparisonsOf({ name, target, ours, peers }) {
  const value = ours && median(ours.values);
  const start = { name, unit: ours?.unit ?? '', ours: ours ? formatValue(value) : 'failed' };
  const lines = peers.map(({ against, series }) => {
    const beside = { ...start, peer: against.name ? `${against.peer}: ${against.name}` : against.peer, target: formatTarget(against, '×') };
    if (!series) return { ...beside, peerValue: 'none', ratio: '', verdict: '' };
    const peerValue = median(series.values);
    const ratio = ours && value / peerValue;
    return { ...beside, peerValue: formatValue(peerValue), ratio: ours ? `${formatValue(ratio)}×` : '', verdict: ours ? formatVerdict(ratio, against) : '' };
  });
  if (target || peers.length === 0) {
    lines.push({ ...start, peer: '', peerValue: '', ratio: '', target: formatTarget(target ?? {}, ours ? ` ${ours.unit}` : ''), verdict: ours ? formatVerdict(value, target ?? {}) : '' });
  }
  return lines;
}

const comparisonLine = ({ name, unit, ours, peer, peerValue, ratio, target, verdict }) => [name, unit, ours, peer, peerValue, ratio, target, verdict];

/** What the summary says of the core benchmark's rows. @param {readonly Row[]} rows @returns {TargetRow[]} */
export function comparisonTargetRows(rows) {
  return rows.flatMap(comparisonsOf).filter(({ target }) => target !== '').map(({ name, unit, ours, peer, peerValue, ratio, target, verdict }) => (
    { figure: name, ours: `${ours} ${unit}`, peer: peer && `${peer}: ${peerValue} ${unit}`, ratio, target, verdict: verdict || 'not measured' }));
}

/** A target as a reader knows it: `≤ 2 ms`; empty without one. */
export function formatTarget({ atLeast, atMost }, suffix) {
  if (atLeast !== undefined) return `≥ ${atLeast.toLocaleString('en')}${suffix}`;
  return atMost === undefined ? '' : `≤ ${atMost.toLocaleString('en')}${suffix}`;
}

/** Whether a value meets its target, in Markdown; empty without one. */
export function formatVerdict(value, target) {
  const reached = reaches(value, target);
  if (reached === null) return '';
  return reached ? 'met' : '**missed**';
}

function roundLines({ ours, peers }) {
  const series = [ours, ...peers.map((peer) => peer.series)].filter((one) => one !== null);
  return series.map(({ who, name, unit, values }) => [name, who, unit, values.map(formatValue).join(' · ')]);
}

/**
 * A table in Markdown, one string a line.
 * @param {readonly string[]} heads @param {readonly (readonly string[])[]} lines
 */
export function table(heads, lines) {
  return [heads, heads.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`);
}
