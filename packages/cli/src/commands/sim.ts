/** `cluster sim`: runs a scenario file in the simulator, in one process and in virtual time. */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { formatDurationMs } from '@muster/base';
import { formatPoint, formatReport, formatScaling, play, readScenario, scale, SCALING_HEADING, type PlayOptions, type Progress, type ScenarioFile } from '@muster/sim';
import { dieWithParent } from '@muster/native';
import type { Command } from 'commander';
import { asUsage, CommandFailure, EXIT } from '../output/failure.js';
import { printText, withExamples } from './cluster-options.js';

interface SimOptions {
  readonly seed: string;
  readonly seeds: string;
  readonly json?: boolean;
  readonly trace?: string;
}

const SEED_MAX = 2 ** 32 - 1;
/**
 * Most of what a simulation makes is dropped at once. With a young generation of 64 MiB a sixth less time goes into collecting it; how large that is, is fixed when a
 * process starts.
 */
const YOUNG_GENERATION = '--max-semi-space-size=64';
/** Text that is written to the trace at once. */
const TRACE_BUFFER_CHARS = 2 ** 16;

export function define(command: Command): void {
  command.argument('<SCENARIO>', 'a TOML file; docs/simulation.md describes it')
    .option('--seed <N>', 'what everything random is drawn from', '1')
    .option('--seeds <K>', 'run so many seeds, from --seed on', '1')
    .option('--trace <FILE>', 'write every message and event there; of one seed')
    .option('--json', 'print the figures as JSON, one line a seed')
    .action((fileName: string, options: SimOptions) => {
      if (process.execArgv.includes(YOUNG_GENERATION)) simulate(fileName, options);
      else runAgain();
    });
  command.addHelpText('after', '\nThe head, the daemons and the owners of tasks are the real ones; time, network and processes are\nsimulated. A run that breaks a rule exits with 1 and prints the command that runs it again.');
  withExamples(command, 'cluster sim stormy.toml --seed 7', 'cluster sim stormy.toml --seeds 20', 'cluster sim scaling.toml --json');
}

/** The same command in a process with room for what it makes. */
function runAgain(): void {
  const { status, signal } = spawnSync(process.execPath, [YOUNG_GENERATION, ...process.execArgv, ...process.argv.slice(1)], { stdio: 'inherit' });
  process.exitCode = status ?? 128 + (signal === null ? 0 : constants.signals[signal]);
}

function simulate(fileName: string, options: SimOptions): void {
  dieWithParent(process.ppid);
  const scenario = asUsage('sim', () => readScenario(fileName, textOf(fileName)));
  const first = wholeNumber('--seed', options.seed, 0);
  const count = wholeNumber('--seeds', options.seeds, 1);
  if (options.trace !== undefined && count > 1) throw new CommandFailure({ what: '--trace takes one seed', remedy: 'Leave --seeds out.', exitCode: EXIT.usage });
  const trace = options.trace === undefined ? null : new TraceFile(options.trace);
  let failedCount = 0;
  for (let seed = first; seed < first + count; seed++) {
    const playOptions: PlayOptions = { seed, sink: trace && ((line) => trace.write(line)), onProgress: process.stderr.isTTY && !options.json ? showProgress : null };
    const isKept = scenario.scalingNodes.length > 0 ? runCurve(scenario, playOptions, options) : runOnce(scenario, playOptions, options);
    if (!isKept) failedCount++;
  }
  trace?.close();
  if (count > 1 && !options.json) printText(`${count} seeds, ${failedCount} failed`);
  if (failedCount > 0) process.exitCode = EXIT.failure;
}

/** True when all rules were kept, as below. */
function runOnce(scenario: ScenarioFile, playOptions: PlayOptions, { json }: SimOptions): boolean {
  const report = play(scenario, playOptions);
  if (playOptions.onProgress) clearProgress();
  printText(json ? JSON.stringify(report) : formatReport(report));
  return report.failure === null;
}

function runCurve(scenario: ScenarioFile, playOptions: PlayOptions, { json }: SimOptions): boolean {
  if (!json) printText(`${scenario.name}, seed ${playOptions.seed}\n${SCALING_HEADING}`);
  const report = scale(scenario, {
    ...playOptions,
    onPoint: (point) => {
      if (playOptions.onProgress) clearProgress();
      if (!json) printText(formatPoint(point));
    },
  });
  printText(json ? JSON.stringify(report) : formatScaling(report));
  return report.failure === null;
}

function textOf(fileName: string): string {
  try {
    return readFileSync(fileName, 'utf8');
  } catch (error) {
    throw new CommandFailure({ what: `the scenario ${fileName} cannot be read: ${(error as Error).message}`, remedy: 'Name a TOML file.', exitCode: EXIT.usage, cause: error });
  }
}

function wholeNumber(option: string, text: string, min: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= min && value <= SEED_MAX) return value;
  throw new CommandFailure({ what: `${option} ${text} is not valid: it must be a whole number from ${min} to ${SEED_MAX}`, remedy: '`cluster sim --help` shows what it takes.', exitCode: EXIT.usage });
}

function showProgress({ virtualMs, wallMs, doneCount, plannedCount }: Progress): void {
  process.stderr.write(`\r\x1b[K${formatDurationMs(virtualMs)} simulated in ${formatDurationMs(wallMs)}: ${doneCount.toLocaleString('en-US')} of ${plannedCount.toLocaleString('en-US')} tasks done`);
}

function clearProgress(): void {
  process.stderr.write('\r\x1b[K');
}

/** The trace's text, written in large pieces. */
class TraceFile {
  readonly #file: number;
  #buffer = '';

  /** @throws CommandFailure when the file cannot be written */
  constructor(path: string) {
    try {
      this.#file = openSync(path, 'w');
    } catch (error) {
      throw new CommandFailure({ what: `the trace ${path} cannot be written: ${(error as Error).message}`, remedy: 'Name a file in a folder that is there.', exitCode: EXIT.usage, cause: error });
    }
  }

  write(line: string): void {
    this.#buffer += `${line}\n`;
    if (this.#buffer.length >= TRACE_BUFFER_CHARS) this.#flush();
  }

  close(): void {
    this.#flush();
    closeSync(this.#file);
  }

  #flush(): void {
    writeSync(this.#file, this.#buffer);
    this.#buffer = '';
  }
}
