/** Runs the experiment that a module exports, with what the command line says over its options. */
import { pathToFileURL } from 'node:url';
import { makeError } from '@muster/base';
import { shutdown } from '@muster/core';
import { tune, type Space, type Trainable, type TuneOptions } from '@muster/tune';

/** What the command line may say; undefined: the module's own. */
export type SweepOptions = { readonly [Key in 'trials' | 'storage' | 'resume' | 'seed' | 'maxConcurrent' | 'timeBudgetMs']?: TuneOptions<Space>[Key] | undefined };

/** @throws what the module and tune() throw; INVALID_ARGUMENT where the module exports something else */
export async function runSweep(file: string, said: SweepOptions): Promise<void> {
  const { trainable, options } = (await import(pathToFileURL(file).href)) as { trainable?: Trainable<never>; options?: TuneOptions<Space> };
  if (typeof trainable !== 'function' || typeof options !== 'object') {
    throw makeError('INVALID_ARGUMENT', { what: file, want: 'a module that exports `trainable`, a function of a configuration, and `options`, what tune() takes' });
  }
  const given = Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined));
  try {
    const { best, reason } = await tune(trainable as Trainable<unknown>, { ...options, ...given } as TuneOptions<Space>);
    process.stdout.write(`${reason}\nbest: trial ${best.id}\n${JSON.stringify({ config: best.config, metrics: best.metrics }, null, 2)}\n`);
  } finally {
    await shutdown();
  }
}
