/** Runs the experiment that a module exports, with what the command line says over its options. */
import { pathToFileURL } from 'node:url';
import { makeError } from '@muster/base';
import { shutdown } from '@muster/core';
import { tune, type Space, type Trainable, type TuneOptions } from '@muster/tune';
import { CommandFailure, EXIT } from '../output/failure.js';

/** What the command line may say; undefined: the module's own. */
export type SweepOptions = { readonly [Key in 'trials' | 'storage' | 'resume' | 'seed' | 'maxConcurrent' | 'timeBudgetMs']?: TuneOptions<Space>[Key] | undefined };

/**
 * The first Ctrl-C lets trials end, and the second is no longer listened to.
 * @throws what the module and tune() throw; INVALID_ARGUMENT where the module exports something else; CommandFailure where a signal ended it
 */
export async function runSweep(file: string, said: SweepOptions): Promise<void> {
  const { trainable, options } = (await import(pathToFileURL(file).href)) as { trainable?: Trainable<never>; options?: TuneOptions<Space> };
  if (typeof trainable !== 'function' || typeof options !== 'object') {
    throw makeError('INVALID_ARGUMENT', { what: file, want: 'a module that exports `trainable`, a function of a configuration, and `options`, what tune() takes' });
  }
  const given = Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined));
  const all = { ...options, ...given } as TuneOptions<Space>;
  const interrupted = interruption(file, all.storage);
  const signal = all.signal ? AbortSignal.any([all.signal, interrupted]) : interrupted;
  try {
    const { best, reason } = await tune(trainable as Trainable<unknown>, { ...all, signal });
    process.stdout.write(`${reason}\nbest: trial ${best.id}\n${JSON.stringify({ config: best.config, metrics: best.metrics }, null, 2)}\n`);
  } finally {
    await shutdown();
  }
}

/** Aborts at the first signal that asks this process to end. */
function interruption(file: string, storage: string | undefined): AbortSignal {
  const controller = new AbortController();
  const remedy = storage === undefined ? 'Give it a folder with --storage, and it can go on where it was.' : `Go on with it: cluster tune run ${file} --storage ${storage} --resume`;
  const interrupt = (): void => {
    process.stderr.write('ending the trials; once more to end at once\n');
    controller.abort(new CommandFailure({ what: 'the experiment was broken off', remedy, exitCode: EXIT.interrupted }));
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, interrupt);
  return controller.signal;
}
