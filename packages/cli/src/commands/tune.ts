/** `cluster tune`: runs experiments, and shows what they found. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeError } from '@muster/base';
import { csvLines, htmlReport, readExperiment, statusLine, trialLines, type ReadExperiment } from '@muster/tune';
import type { Command } from 'commander';
import { asUsage } from '../output/failure.js';
import type { SweepOptions } from '../tune/run-sweep.js';
import { printJson, printNote, printText, withExamples } from './cluster-options.js';

/** What fits on a screen. */
const ROWS_SHOWN = 20;
const DEFAULT_COLUMNS = 100;

interface RunOptions {
  readonly trials?: string;
  readonly storage?: string;
  readonly resume?: boolean;
  readonly seed?: string;
  readonly maxConcurrent?: string;
  readonly timeBudget?: string;
}

export function define(command: Command): void {
  const run = command.command('run').description('run the experiment that a program exports')
    .argument('<FILE>', 'a module that exports `trainable`, a function, and `options`, what tune() takes')
    .option('--trials <N>', 'how many trials to run')
    .option('--storage <DIR>', 'the experiment\'s folder')
    .option('--resume', 'go on with the experiment in that folder')
    .option('--seed <N>', 'everything random follows from it')
    .option('--max-concurrent <N>', 'trials at once')
    .option('--time-budget <SECONDS>', 'how long the experiment may run')
    .action((file: string, options: RunOptions) => runSweep(file, asUsage('tune run', () => sweepOptions(options))));
  const show = command.command('show').description('show an experiment, running or done')
    .argument('<DIR>', 'the experiment\'s folder')
    .option('--json', 'print everything as JSON')
    .option('--csv', 'print a line for each trial as comma-separated values')
    .action((folder: string, options: { json?: boolean; csv?: boolean }) => {
      const experiment = readExperiment(resolve(folder));
      if (options.json) printJson(asData(experiment));
      else if (options.csv) for (const line of csvLines(experiment.table)) process.stdout.write(line);
      else printText(describe(experiment));
    });
  const report = command.command('report').description('write an experiment\'s charts and trials as one HTML page that needs no network')
    .argument('<DIR>', 'the experiment\'s folder')
    .option('-o, --output <FILE>', 'the page', 'report.html')
    .action(async (folder: string, { output }: { output: string }) => {
      const page = htmlReport(readExperiment(resolve(folder)));
      await writeFile(output, page).catch((cause: Error) => { throw makeError('STORAGE', { file: output, cause: cause.message }, { cause }); });
      printNote(`wrote ${output}`);
    });
  withExamples(run, 'cluster tune run sweep.ts --storage runs/first --trials 100', 'cluster tune run sweep.ts --storage runs/first --resume');
  withExamples(show, 'cluster tune show runs/first', 'cluster tune show runs/first --csv > trials.csv');
  withExamples(report, 'cluster tune report runs/first -o report.html');
  withExamples(command, 'cluster tune run sweep.ts --storage runs/first', 'cluster tune show runs/first', 'cluster tune report runs/first -o report.html');
}

/** @throws MusterError INVALID_ARGUMENT */
function sweepOptions({ trials, storage, resume, seed, maxConcurrent, timeBudget }: RunOptions): SweepOptions {
  const seconds = numberOf('--time-budget', timeBudget);
  return {
    trials: numberOf('--trials', trials), storage, resume, seed: numberOf('--seed', seed), maxConcurrent: numberOf('--max-concurrent', maxConcurrent),
    timeBudgetMs: seconds === undefined ? undefined : seconds * 1000,
  };
}

function numberOf(option: string, text: string | undefined): number | undefined {
  if (text !== undefined && !/^\d+(\.\d+)?$/.test(text)) throw makeError('INVALID_ARGUMENT', { what: `${option} ${text}`, want: 'a number' });
  return text === undefined ? undefined : Number(text);
}

/** The program runs in a process of its own, which reads TypeScript. Its exit code becomes this command's. */
async function runSweep(file: string, options: SweepOptions): Promise<void> {
  if (!existsSync(file)) throw makeError('INVALID_ARGUMENT', { what: `the program ${file}`, want: 'the path of a module, and there is none' });
  const runner = fileURLToPath(new URL('../tune/sweep-program.js', import.meta.url));
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), runner, resolve(file), JSON.stringify(options)], { stdio: 'inherit' });
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  process.on('SIGINT', () => {}).on('SIGTERM', forward); // a terminal's Ctrl-C reaches the program by itself
  process.exitCode = await new Promise<number>((done) => child.once('close', (code, signal) => done(code ?? 128 + constants.signals[signal!])));
}

function describe({ begin, table, finished }: ReadExperiment): string {
  const view = { begin, table, trials: finished === null ? Infinity : table.begun, elapsedMs: table.lastAtMs };
  const failures = [...table.rows()].filter(({ status }) => status === 'failed').slice(-3).map(({ id, endReason }) => `trial ${id} failed: ${endReason.split('\n', 1)[0]}`);
  return [
    statusLine(view), finished === null ? 'not finished: it runs, or can be resumed' : `finished: ${finished}`, '',
    ...trialLines({ ...view, rowsMax: ROWS_SHOWN, columnsMax: process.stdout.columns || DEFAULT_COLUMNS }), ...(failures.length > 0 ? ['', ...failures] : []),
  ].join('\n');
}

const asData = ({ begin, table, finished }: ReadExperiment): object => ({ experiment: begin, finished, best: table.best, paretoFront: table.paretoFront().map(({ id }) => id), trials: [...table.rows()] });
