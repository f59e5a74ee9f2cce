import t from 'tap';
import { TapReader } from './tap-reader.mjs';

function read(text) {
  const reader = new TapReader();
  const others = [];
  reader.onOtherLine = (line) => others.push(line);
  for (const line of text.split('\n')) reader.line(line);
  reader.end();
  return { counts: [reader.passed, reader.failed, reader.skipped], failures: reader.failures, others };
}

t.test('a block counts once, and so does an assertion outside of blocks', async (t) => {
  const { counts } = read(`TAP version 14
# Subtest: adds
    ok 1 - should be equal
    ok 2 - should be equal
    1..2
ok 1 - adds # time=5.4ms

ok 2 - alone
1..2`);
  t.strictSame(counts, [2, 0, 0]);
});

t.test('of nested blocks only the innermost count', async (t) => {
  const { counts, failures } = read(`# Subtest: group
    # Subtest: inner
        # Subtest: deep
            not ok 1 - should be equal
              ---
              diff: |
                -3
                ok 1 - +1
              ...
            1..1
        not ok 1 - deep # time=1ms
          ---
          at: here
          ...
        1..1
    not ok 1 - inner # time=1ms
    # Subtest: second
        ok 1 - x
        1..1
    ok 2 - second # time=1ms
    1..2
not ok 1 - group # time=3ms
1..1`);
  t.strictSame(counts, [1, 1, 0]);
  t.strictSame(failures, [{ name: 'group > inner > deep: should be equal', detail: 'diff: |\n  -3\n  ok 1 - +1\n' }]);
});

t.test('skipped blocks, blocks that skip themselves and unwritten blocks are skipped', async (t) => {
  const { counts } = read(`# Subtest: group
    ok 1 - without a gpu # SKIP no gpu
    # Subtest: runs
        ok 1 - x
        1..1
    ok 2 - runs # time=1ms
    1..2
ok 1 - group # time=1ms
# Subtest: skips itself
    ok 1 - no redis here # SKIP
    1..1
ok 2 - skips itself # time=1ms
ok 3 - not written # ${'TO'}DO
1..3`);
  t.strictSame(counts, [1, 0, 3]);
});

t.test('a block that fails without an assertion fails by its own name', async (t) => {
  const { counts, failures } = read(`# Subtest: plans two
    ok 1 - one
    1..2
not ok 1 - plans two # time=1ms
  ---
  comment: test count !== plan
  ...
1..1`);
  t.strictSame(counts, [0, 1, 0]);
  t.strictSame(failures, [{ name: 'plans two', detail: 'comment: test count !== plan\n' }]);
});

t.test('a process that dies inside of a block fails that block', async (t) => {
  const { counts, failures } = read('# Subtest: crashes\n    ok 1 - began');
  t.strictSame(counts, [0, 1, 0]);
  t.match(failures[0].name, /^crashes: /);
});

t.test('what is no TAP is handed on', async (t) => {
  const { counts, others } = read('hello\n# Subtest: a\n    ok 1\nprinted inside\n    1..1\nok 1 - a # time=1ms\n');
  t.strictSame(counts, [1, 0, 0]);
  t.strictSame(others, ['hello', 'printed inside']);
});
