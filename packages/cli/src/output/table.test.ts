import t from 'tap';
import { formatFields, formatTable, type Column } from './table.js';

interface Row {
  readonly name: string;
  readonly count: number;
  readonly why: string;
}

const COLUMNS: readonly Column<Row>[] = [
  { title: 'NAME', value: (row) => row.name },
  { title: 'COUNT', value: (row) => row.count, align: 'right' },
  { title: 'WHY', value: (row) => row.why, shrinksTo: 8 },
];

t.test('columns are aligned, numbers to the right, without blanks at the end', async (t) => {
  t.equal(formatTable(COLUMNS, [{ name: 'a', count: 5, why: '' }, { name: 'longer', count: 123, why: 'x' }]), [
    'NAME    COUNT  WHY',
    'a           5',
    'longer    123  x',
  ].join('\n'));
});

t.test('a column without content is left out', async (t) => {
  t.equal(formatTable(COLUMNS, [{ name: 'a', count: 5, why: '' }]), 'NAME  COUNT\na         5');
});

t.test('what is too wide is cut short, as far as it may', async (t) => {
  const rows = [{ name: 'a', count: 5, why: 'because of something long' }];
  t.equal(formatTable(COLUMNS, rows, 24), 'NAME  COUNT  WHY\na         5  because of…');
  t.equal(formatTable(COLUMNS, rows, 10), 'NAME  COUNT  WHY\na         5  because…');
});

t.test('the widest column is cut first', async (t) => {
  const columns: Column<Row>[] = [{ title: 'A', value: () => 'x'.repeat(20), shrinksTo: 4 }, { title: 'B', value: () => 'y'.repeat(10), shrinksTo: 4 }];
  t.equal(formatTable(columns, [{ name: '', count: 0, why: '' }], 22).split('\n')[1], `${'x'.repeat(9)}…  ${'y'.repeat(10)}`);
});

t.test('a cell is one line', async (t) => {
  t.equal(formatTable(COLUMNS, [{ name: 'a\nb', count: 1, why: '' }]).split('\n').length, 2);
});

t.test('the values of fields stand under each other', async (t) => {
  t.equal(formatFields([['a', '1'], ['long', '2']]), 'a     1\nlong  2');
});
