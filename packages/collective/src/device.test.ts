/** Collective calls of GPU memory among processes: on one GPU, on GPUs that reach each other, and through host memory. The GPUs are native/cuda's emulator. */
import { emulatedEnvironment, emulatorLacks } from '@muster/native/cuda-emulator';
import t from 'tap';
import { resultsOf, startRanks } from './test-support/rank-process.js';

const skip = emulatorLacks() ?? false;

/** Which emulated GPU each rank has. */
const onGpus = (...gpus: number[]): { readonly size: number; readonly environments: readonly Readonly<Record<string, string>>[] } => ({ size: gpus.length, environments: gpus.map(emulatedEnvironment) });

t.test('every call gives the bits that it gives of host memory, whichever way it goes', { skip }, async (t) => {
  for (const { gpus, way } of [
    { gpus: [0, 0, 0], way: { way: 'shared', reason: null } },
    { gpus: [0, 1], way: { way: 'peer', reason: null } },
    { gpus: [0, 0, 1], way: { way: 'staged', reason: 'some ranks of the group share a GPU and others do not: all must, or none' } },
    { gpus: [0], way: { way: 'shared', reason: null } },
  ]) {
    const results = await resultsOf(startRanks(t, 'every call of GPU memory', onGpus(...gpus)));
    t.strictSame(results, gpus.map(() => ({ differences: [], way })), `GPUs ${gpus.join()}`);
  }
});

t.test('calls in place, in groups with host memory, one behind the other and on the thread', { skip }, async (t) => {
  const [first, second] = await resultsOf(startRanks(t, 'in place, in a group and at once', onGpus(0, 0)));
  const same = { many: true, host: true };
  t.strictSame([first, second], [{ ...same, parts: [5, 7, 5, 7], theirs: [1, 10] }, { ...same, parts: [1, 3, 5, 7], theirs: [0, 0] }]);
});

t.test('ranks that disagree are told of both calls', { skip }, async (t) => {
  for (const gpus of [[0, 0], [0, 1]]) {
    const [first, second] = await resultsOf(startRanks(t, 'ranks disagree about GPU memory', onGpus(...gpus)));
    t.match(first, { reason: 'mismatch', message: /allReduce\(sum of (999|1000) f32 on GPUs\).*allReduce\(sum of (999|1000) f32 on GPUs\)/ });
    t.strictSame(second, first);
  }
  const [first, second] = await resultsOf(startRanks(t, 'one rank has GPU memory, and the other not', onGpus(0, 0)));
  t.match(first, { reason: 'mismatch', message: /allReduce\(sum of 1000 f32\)/ });
  t.match(first, { message: /allReduce\(sum of 1000 f32 on GPUs\)/ });
  t.strictSame(second, first);
});

t.test('a rank that dies ends the calls of the others, who are told which', { skip }, async (t) => {
  for (const gpus of [[0, 0, 0], [0, 1, 2], [0, 0, 1]]) {
    const [first, second, third] = await resultsOf(startRanks(t, 'a rank with GPU memory dies', onGpus(...gpus)));
    t.match(first, { first: { reason: 'rank-gone', rank: 1, message: /rank 1 \(process \d+\) ended without closing/ } });
    t.match(first, { next: (first as { first: unknown }).first }, 'and so do all further calls');
    t.strictSame(third, first);
    t.equal(second, null);
  }
});

t.test('a rank that comes late is named, and told', { skip }, async (t) => {
  const ranks = startRanks(t, 'a rank with GPU memory comes late', { ...onGpus(0, 0), timeoutMs: 3000 });
  t.equal(await ranks[0]!.report('word'), 'gave up');
  ranks[1]!.child.send('go on');
  const [first, second] = await resultsOf(ranks);
  t.match(first, { reason: 'timeout', rank: 1, message: /waiting in allReduce\(sum of 1000 f32 on GPUs\).* for 3000 ms; it is in no call/ });
  t.strictSame(second, first);
});

t.test('what cannot be is refused, and memory in use is not given back', { skip }, async (t) => {
  const [messages] = await resultsOf(startRanks(t, 'what GPU memory cannot be', onGpus(0)));
  t.match(messages, [
    /the dtype 'bf16' of the source of allReduce.*'f32'/, /the target of allReduce is not valid: it must be on the GPU, as its source is/, /begins beyond the end of its buffer of 32 bytes/,
    /source has 28 bytes, and the call reads 32/, /must be aligned to its elements of 4 bytes/, /stream is no stream/, /there is no device 7: this process sees 1/, /one's, and have one stream/,
    /the buffer is in use/, /buffer was given back/,
  ]);
});
