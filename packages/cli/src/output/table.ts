/** Tables for people: aligned, and readable in a terminal of ordinary width. */

/** Wider terminals get wider tables; where there is none, this is the width. */
const DEFAULT_COLUMNS = 100;
const GAP = '  ';

export interface Column<Row> {
  readonly title: string;
  readonly value: (row: Row) => string | number;
  readonly align?: 'right';
  /** It may be cut short where the table is too wide, down to this many characters. */
  readonly shrinksTo?: number;
}

/** A heading and a line for each row. Columns without any content are left out. */
export function formatTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[], maxColumns = process.stdout.columns || DEFAULT_COLUMNS): string {
  const shown = columns.map((column) => ({ ...column, cells: rows.map((row) => String(column.value(row)).replaceAll('\n', ' ')) }))
    .filter(({ cells }) => cells.some((cell) => cell !== ''));
  const widths = shown.map(({ title, cells }) => Math.max(title.length, ...cells.map((cell) => cell.length)));
  const least = shown.map(({ shrinksTo, title }, index) => Math.min(widths[index]!, Math.max(title.length, shrinksTo ?? Infinity)));
  for (let excess = widths.reduce((sum, width) => sum + width + GAP.length, -GAP.length) - maxColumns; excess > 0; excess--) {
    const widest = widths.reduce((best, width, index) => (width > least[index]! && width > (widths[best] ?? 0) ? index : best), -1);
    if (widest < 0) break;
    widths[widest]!--;
  }
  const line = (cell: (index: number) => string): string =>
    shown.map(({ align }, index) => fit(cell(index), widths[index]!, align)).join(GAP).trimEnd();
  return [line((index) => shown[index]!.title), ...rows.map((_, row) => line((index) => shown[index]!.cells[row]!))].join('\n');
}

function fit(text: string, width: number, align: 'right' | undefined): string {
  const short = text.length <= width ? text : `${text.slice(0, width - 1)}…`;
  return align === 'right' ? short.padStart(width) : short.padEnd(width);
}

/** Lines of `name  value`, the values under each other. */
export function formatFields(fields: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...fields.map(([name]) => name.length));
  return fields.map(([name, value]) => `${name.padEnd(width)}${GAP}${value}`).join('\n');
}
