/** What a person sees of a training. */
import { PassThrough } from 'node:stream';
import t from 'tap';
import { progressBar, statusLine, TrainingProgress } from './progress.js';
import type { StepRecord } from './training.js';

const record = (step: number, rest: Partial<StepRecord> = {}): StepRecord =>
  ({ step, totalSteps: 4000, epoch: 1, loss: 0.073149, metrics: {}, learningRate: 1e-3, scale: 1, isSkipped: false, examplesPerSecond: 3120.4, dataWaitMs: 0, ...rest });

/** What is written to a stream that is a terminal of so many columns, or none. */
function shown(columns: number | null, body: (progress: TrainingProgress, stream: PassThrough) => void): string {
  const stream = Object.assign(new PassThrough({ encoding: 'utf8' }), columns === null ? {} : { isTTY: true, columns });
  body(new TrainingProgress(stream), stream);
  return (stream.read() as string | null) ?? '';
}

t.test('a line says how far a training is', async (t) => {
  t.equal(statusLine(record(1250), { skipped: 0, elapsedMs: 72_000, leftMs: 158_000 }), 'step 1,250 of 4,000  epoch 2  loss 0.07315  3,120 examples/s  1 m 12 s  2 m 38 s left');
  t.equal(statusLine(record(4000, { scale: 65536, metrics: { accuracy: 0.981 } }), { skipped: 2, elapsedMs: 400, leftMs: 0 }), 'step 4,000 of 4,000  epoch 2  loss 0.07315  accuracy 0.981  3,120 examples/s  scale 65536  2 skipped  1 s');
  t.equal(statusLine(record(7, { totalSteps: null }), { skipped: 0, elapsedMs: 1000, leftMs: null }), 'step 7  epoch 2  loss 0.07315  3,120 examples/s  1 s');
  t.equal(progressBar(record(1600)), '━━━━━━━━────────────  40 %  ');
  t.equal(progressBar(record(4001)), '━━━━━━━━━━━━━━━━━━━━ 100 %  ');
  t.equal(progressBar(record(1, { totalSteps: null })), '');
});

t.test('a terminal has a bar that is drawn over itself, with words in between', async (t) => {
  const text = shown(90, (progress) => {
    progress.records([record(1)]);
    progress.records([record(1599, { isSkipped: true, examplesPerSecond: 100 }), record(1600, { examplesPerSecond: 300 })]);
    progress.say('all ranks start anew');
    progress.records([record(1601)]);
    progress.close();
  });
  const [first, second, third, end] = text.split('\r\x1b[2K').slice(1);
  t.match(first, /^─{20}\s+0 %  step 1 of/);
  t.match(second, /^━{8}─{12}\s+40 %  step 1,600 of 4,000  epoch 2  loss 0.07315  150 examples\/s/, 'as fast as the steps were together');
  t.ok([first!, second!].every((line) => line.length < 90), 'no line wraps');
  t.equal(third, 'all ranks start anew\n');
  t.match(end, /step 1,601.*\n$/, 'the last stays');
});

t.test('what ranks print passes above the bar', async (t) => {
  const text = shown(90, (progress, stream) => {
    progress.records([record(1)]);
    stream.write('(rank 0) a whole line\n');
    progress.records([record(2)]);
    stream.write('half of one');
    progress.records([record(3)]);
    progress.close();
    stream.write('the end\n');
  });
  const [first, cleared, second, clearedAgain] = text.split('\r\x1b[2K').slice(1);
  t.match([first, cleared, second], [/step 1 of/, /^\(rank 0\) a whole line\n$/, /step 2 of/]);
  t.match(clearedAgain, /^half of one\n━*─+.*step 3 of .*\nthe end\n$/, 'also below one that has not ended');
});

t.test('without a terminal there are lines, the last with the end', async (t) => {
  const text = shown(null, (progress) => {
    for (let step = 1; step <= 50; step++) progress.records([record(step)]);
    progress.close();
    progress.close();
  });
  t.match(text.split('\n'), [/^step 1 of 4,000/, /^step 50 of 4,000/, /^$/]);
  t.equal(shown(null, (progress) => progress.close()), '', 'of a training that made no step there is nothing to say');
});
