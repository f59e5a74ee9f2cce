/** The process of `cluster tune run`. */
import { printFailure } from '../output/failure.js';
import { runSweep, type SweepOptions } from './run-sweep.js';

const [, , file, options] = process.argv as [string, string, string, string];
try {
  await runSweep(file, JSON.parse(options) as SweepOptions);
} catch (error) {
  process.exitCode = printFailure(error);
}
