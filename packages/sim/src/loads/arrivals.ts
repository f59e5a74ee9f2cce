/** Programs that start one after the other, each at its time, and run beside each other. */
import type { Random } from '@muster/base';
import type { CodeContext } from '../code-context.js';
import { runProgram, until, type Program } from '../program.js';
import type { Distribution } from '../scenario-file/distribution.js';

/** How many come, and when. */
export interface Arrivals {
  readonly count: number;
  /** Between two of them; null: all come at once. */
  readonly arrivals: Distribution | null;
}

/** Runs all, each by its number, and waits for the last one. @throws what the first one throws that fails */
export function* runAll(code: CodeContext, { count, arrivals }: Arrivals, random: Random, one: (index: number) => Program<void>): Program<void> {
  let openCount = 0;
  let failure: unknown = null;
  let wake: (() => void) | null = null;
  for (let index = 0; index < count; index++) {
    if (arrivals) yield* code.sleep(arrivals.sample(random));
    openCount++;
    runProgram(code.session.process, one(index), (ending) => {
      if ('error' in ending) failure ??= ending.error;
      openCount--;
      wake?.();
    });
  }
  while (openCount > 0 && failure === null) yield* until<void>((resume) => { wake = resume; });
  if (failure !== null) throw failure;
}
