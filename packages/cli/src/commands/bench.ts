/** `cluster bench`. */
import { makeError } from '@muster/base';
import type { Command } from 'commander';
import type { BenchRecord } from '../bench/measure.js';
import { printText, withExamples } from './cluster-options.js';

const NAME_WIDTH = 62;

export function define(command: Command): void {
  const core = command.command('core').description('Ray\'s microbenchmarks under Ray\'s names, and Muster\'s own, on a cluster of their own')
    .option('--only <name>', 'only benchmarks whose name contains this')
    .option('--list', 'print the names and run nothing')
    .option('--json', 'one record a line: { name, value, unit, better }')
    .action(async (options: { only?: string; list?: boolean; json?: boolean }) => {
      const { coreBenchNames, runCoreBench } = await import('../bench/core.js');
      if (options.list) return printText(coreBenchNames().join('\n'));
      await runCoreBench({ only: options.only, report: reporter(options) });
    });
  const scheduler = command.command('scheduler').description('decisions of the scheduler by itself, on made-up clusters of up to 10,000 nodes')
    .option('--json', 'one record a line: { name, value, unit, better }')
    .action(async (options: { json?: boolean }) => {
      const { runSchedulerBench } = await import('../bench/scheduler.js');
      runSchedulerBench(reporter(options));
    });
  const tune = command.command('tune').description('experiments: what trials cost through the cluster, and what searchers and schedulers find, beside Optuna where it is installed')
    .option('--only <part>', '`trials`, in a minute, or `search`, which takes an hour')
    .option('--searcher <name...>', 'whose regret is measured', ['tpe', 'gp'])
    .option('--seeds <N>', 'over how many seeds regrets are medians', '20')
    .option('--json', 'one record a line: { name, value, unit, better }')
    .action(async (options: { only?: string; searcher: string[]; seeds: string; json?: boolean }) => {
      const seeds = Number(options.seeds);
      if (![undefined, 'trials', 'search'].includes(options.only)) throw makeError('INVALID_ARGUMENT', { what: `--only ${options.only}`, want: '`trials` or `search`' });
      if (!Number.isInteger(seeds) || seeds < 1) throw makeError('INVALID_ARGUMENT', { what: `--seeds ${options.seeds}`, want: 'a whole number of at least 1' });
      if (options.only !== 'search') await (await import('../bench/tune.js')).runTuneBench(reporter(options));
      if (options.only !== 'trials') await (await import('../bench/tune-search.js')).runTuneSearch({ searchers: options.searcher, seeds }, reporter(options));
    });
  const serviceTimes = command.command('service-times').description('what owner, worker, head and daemon take for their own work: the [costs] of a scenario file')
    .option('--json', 'one record a line: { name, value, unit, better }')
    .action(async (options: { json?: boolean }) => {
      const { runServiceTimes } = await import('../bench/service-times.js');
      await runServiceTimes(reporter(options));
    });
  withExamples(tune, 'cluster bench tune --json', 'cluster bench tune --only trials', 'cluster bench tune --only search --searcher tpe --seeds 5');
  withExamples(serviceTimes, 'cluster bench service-times');
  const head = command.command('head').description('the head by itself, among 10,000 made-up nodes: rates, ticks and memory')
    .option('--json', 'one record a line: { name, value, unit, better }')
    .action(async (options: { json?: boolean }) => {
      const { runHeadBench } = await import('../bench/head.js');
      runHeadBench(reporter(options));
    });
  const collective = command.command('collective').description('all-reduce among two processes of this machine, beside OpenMPI and Gloo where these are installed')
    .option('--json', 'one record a line: { name, value, unit, better }')
    .action(async (options: { json?: boolean }) => {
      const { runCollectiveBench } = await import('../bench/collective.js');
      await runCollectiveBench({ report: reporter(options), note });
    });
  const kernels = command.command('kernels').description('matrix products, conversions and optimizers on the CPU, beside the libraries that are installed')
    .option('--json', 'one record a line: { name, value, unit, better }')
    .action(async (options: { json?: boolean }) => {
      const { runKernelsBench } = await import('../bench/kernels.js');
      await runKernelsBench({ report: reporter(options), note });
    });
  const train = command.command('train').description('training steps beside PyTorch where it is installed, memory in bf16, a second rank, and a rank that is killed')
    .option('--json', 'one record a line: { name, value, unit, better }')
    .action(async (options: { json?: boolean }) => {
      const { runTrainBench } = await import('../bench/train.js');
      await runTrainBench({ report: reporter(options), note });
    });
  withExamples(train, 'cluster bench train --json');
  withExamples(command, 'cluster bench core', 'cluster bench collective', 'cluster bench tune', 'cluster bench train --json');
  withExamples(head, 'cluster bench head --json');
  withExamples(collective, 'cluster bench collective --json');
  withExamples(kernels, 'cluster bench kernels --json');
  withExamples(scheduler, 'cluster bench scheduler --json');
  withExamples(core, 'cluster bench core', 'cluster bench core --only "single client tasks async" --json');
}

const note = (text: string): void => void process.stderr.write(`${text}\n`);

const reporter = ({ json }: { readonly json?: boolean }) => (record: BenchRecord): void => printText(json ? JSON.stringify(record) : line(record));

function line({ name, value, unit }: BenchRecord): string {
  const digits = value >= 100 ? 0 : value >= 1 ? 1 : 3;
  const text = value > 0 && value < 0.1 ? value.toPrecision(2) : value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return `${name.padEnd(NAME_WIDTH)} ${text.padStart(14)} ${unit}`;
}
