/**
 * The benchmark's report: rounds in, Markdown out. Pure; knows what is compared, not how it was run.
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
    'Made by `node bench/run.mjs`. Values are medians of the rounds, and a ratio is Muster\'s median divided by the',
    'peer\'s. In every round Muster and its peers ran one after another. What each name measures stands in',
    '[core-names.md](core-names.md).',
    '',
    ...table(['', ''], facts),
    '',
    ...skipped.map((reason) => `Skipped: ${reason}.\n`),
    '## Comparisons',
    '',
    ...table(['measurement', 'unit', 'Muster', 'beside', 'its value', 'ratio', 'target', ''], rows.flatMap(comparisonLines)),
    '',
    ...(failures.length ? ['## Failures', '', ...failures, ''] : []),
    '## Every round',
    '',
    ...table(['measurement', 'whose', 'unit', 'values in order'], rows.flatMap(roundLines)),
    '',
  ].join('\n');
}

/**
 * Suites whose programs make their own comparisons, one line a record.
 * @param {{ title: string, script: string, facts: readonly (readonly [string, string])[], suites: readonly { title: string, notes: readonly string[],
 *   records: readonly import('./records.mjs').BenchRecord[], targets: readonly (import('./comparisons.mjs').Target & { name: string })[] }[] }} results
 * @returns {string}
 */
export function renderSuites({ title, script, facts, suites }) {
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
      ...targets.filter(({ name }) => !records.some((record) => record.name.startsWith(name))).map(({ name, ...target }) => `Not measured: ${name}, ${formatTarget(target, '')}.\n`),
    ]),
  ].join('\n');
}

function recordLine({ name, unit, value }, targets) {
  const target = targets.find((one) => name.startsWith(one.name)) ?? {};
  const suffix = unit === 'ratio' ? '×' : ` ${unit}`;
  return [name, unit, formatValue(value), formatTarget(target, suffix), formatVerdict(value, target)];
}

function comparisonLines({ name, target, ours, peers }) {
  const value = ours && median(ours.values);
  const start = [name, ours?.unit ?? '', ours ? formatValue(value) : 'failed'];
  const lines = peers.map(({ against, series }) => {
    const title = against.name ? `${against.peer}: ${against.name}` : against.peer;
    if (!series) return [...start, title, 'none', '', formatTarget(against, '×'), ''];
    const peerValue = median(series.values);
    const ratio = ours && value / peerValue;
    return [
      ...start, title, formatValue(peerValue), ours ? `${formatValue(ratio)}×` : '', formatTarget(against, '×'),
      ours ? formatVerdict(ratio, against) : '',
    ];
  });
  if (target || peers.length === 0) {
    lines.push([...start, '', '', '', formatTarget(target ?? {}, ours ? ` ${ours.unit}` : ''), ours ? formatVerdict(value, target ?? {}) : '']);
  }
  return lines;
}

/** A target as a reader knows it: `≤ 2 ms`; empty without one. */
export function formatTarget({ atLeast, atMost }, suffix) {
  if (atLeast !== undefined) return `≥ ${atLeast}${suffix}`;
  return atMost === undefined ? '' : `≤ ${atMost}${suffix}`;
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
