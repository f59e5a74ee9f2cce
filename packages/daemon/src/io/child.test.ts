/** A real child process and what it prints. */
import t from 'tap';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Child } from './child.js';
import { OomWatch } from './oom-watch.js';

/** Prints what the expression says, and then lives until its stdin ends. */
function printing(expression: string, { isTaken = true } = {}) {
  const lines: string[] = [];
  let firstOutput = (): void => {};
  const printed = new Promise<void>((resolve) => { firstOutput = resolve; });
  let exited = (): void => {};
  const ended = new Promise<void>((resolve) => { exited = resolve; });
  const child = new Child({
    command: process.execPath, args: ['-e', `process.stdout.write(${expression}); process.stdin.resume();`], env: process.env, firstInput: '\n', oom: new OomWatch(),
    onOutput: (_, spans) => {
      lines.push(...spans.flatMap((span) => span.lines));
      firstOutput();
      return isTaken;
    },
    onExit: exited,
  });
  return { child, lines, printed, ended };
}

t.test('what is drained has also the line without an end', async (t) => {
  const { child, lines, printed, ended } = printing(`'whole\\nhalf'`);
  await printed;
  t.same(lines, ['whole'], 'more of the line may come');
  await child.drained();
  t.same(lines, ['whole', 'half']);
  child.signal('SIGKILL');
  await ended;
  t.same(lines, ['whole', 'half'], 'once');
});

t.test('output that must wait for the disk is waited for', async (t) => {
  const count = 30_000; // more than a pipe holds and one read takes
  const { child, lines, printed, ended } = printing(`'line\\n'.repeat(${count})`, { isTaken: false });
  await printed;
  let isDrained = false;
  const drained = child.drained().then(() => { isDrained = true; });
  for (let turn = 0; turn < 10; turn++) await nextTurn();
  t.notOk(isDrained);
  t.ok(lines.length < count, 'nothing comes while it waits');
  while (!isDrained) { // each piece is refused after it was taken
    child.resume();
    await nextTurn();
  }
  await drained;
  t.equal(lines.length, count);
  child.resume();
  child.signal('SIGKILL');
  await ended;
});
