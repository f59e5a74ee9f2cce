/**
 * A pipeline of references: sorts a large array on all workers. No step waits for another in this program; a task whose argument
 * is a reference starts when the value is there, near where it lies.
 *
 * Shows: references as arguments, large arrays in shared memory that nobody copies on the way, `wait` for whichever are ready first.
 *
 *     node --import tsx examples/pipeline.ts
 */
import { get, init, remote, shutdown, wait } from '@muster/core';

const PARTS = 16;
const PART_LENGTH = 200_000;

/** Numbers that look random and are the same in every run. Source: the linear congruential generator of Numerical Recipes. */
const generate = remote((part: number): Float64Array => {
  let state = part;
  return Float64Array.from({ length: PART_LENGTH }, () => (state = (1664525 * state + 1013904223) % 2 ** 32));
}, { name: 'generate' });

/** The argument lies in shared memory, where other tasks may read it too: `toSorted` leaves it as it is. */
const sort = remote((numbers: Float64Array): Float64Array => numbers.toSorted(), { name: 'sort' });

const merge = remote((left: Float64Array, right: Float64Array): Float64Array => {
  const merged = new Float64Array(left.length + right.length);
  for (let i = 0, l = 0, r = 0; i < merged.length; i++) {
    const fromLeft = r === right.length || (l < left.length && left[l]! <= right[r]!);
    merged[i] = fromLeft ? left[l++]! : right[r++]!;
  }
  return merged;
}, { name: 'merge' });

await init();

// Thirty-two tasks are on their way when this loop ends, and it has waited for none of them.
const parts = Array.from({ length: PARTS }, (_, part) => generate.remote(part));
let runs = parts.map((part) => sort.remote(part));

// Two runs that are ready become one that is not yet, until there is one in all. Slow parts hold nobody up.
while (runs.length > 1) {
  const { ready, pending } = await wait(runs, { count: 2 });
  runs = [...pending, merge.remote(ready[0]!, ready[1]!)];
}

const sum = (numbers: Float64Array): number => numbers.reduce((total, number) => total + number, 0);
const sorted = await get(runs[0]!);
const unsorted = await get(parts);
console.log('numbers ', sorted.length);
console.log('smallest', sorted[0], 'largest', sorted.at(-1));
console.log('in order', sorted.every((number, i) => i === 0 || sorted[i - 1]! <= number));
console.log('same sum', sum(sorted) === unsorted.map(sum).reduce((total, part) => total + part)); // exact in any order: whole numbers, below 2^53
await shutdown();
