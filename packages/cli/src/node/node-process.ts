/**
 * The process that is a node. Others start it and wait for it:
 *   --ephemeral   a program's own cluster or node. Prints one JSON line when it is ready, and ends when stdin does.
 *   --background  behind `cluster start`. Prints one JSON line, ReadyNode or `{ failure }`, and ends when it is told to.
 * The first line of stdin is JSON: what cannot stand on a command line.
 */
import { SpareWorker } from '@muster/daemon/spare-worker';
import { asUsage, printFailure, reportOf } from '../output/failure.js';
import type { NodeSecrets, RunningNode } from './run-node.js';
import { parseStartArguments, readStartValues } from './start-options.js';
import { WORKER_ENTRY } from './worker-entry.js';

/** The background process's line when it could not start. */
export interface FailedStart {
  readonly failure: ReturnType<typeof reportOf>;
}

/**
 * What a terminal sends to everything in its foreground. A program's own cluster leaves it to the program, which may want to end in order, and ends with it.
 */
const TERMINAL_SIGNALS = ['SIGINT', 'SIGQUIT', 'SIGHUP'] as const;

/** Runs a node until its time is over. */
export async function runNodeProcess(args: readonly string[]): Promise<void> {
  const isEphemeral = args.includes('--ephemeral');
  process.stdout.on('error', () => {}); // whoever waited may be gone
  if (isEphemeral) for (const signal of TERMINAL_SIGNALS) process.on(signal, () => {});
  try {
    const settings = asUsage('start', () => readStartValues(parseStartArguments(args)));
    const spareWorker = (settings.resources['cpu'] ?? 0) > 0 ? new SpareWorker(WORKER_ENTRY) : undefined;
    const input = readFirstLine();
    const { runNode } = await import('./run-node.js'); // takes long, and the worker loads its modules meanwhile
    const node = await runNode(settings, { ...(JSON.parse(await input.line) as NodeSecrets), spareWorker });
    process.stdout.write(`${JSON.stringify(node.ready)}\n`);
    if (isEphemeral) {
      stopOn(node, ['SIGTERM']);
      void input.ended.then(() => node.stop('its program ended'));
    } else {
      stopOn(node, ['SIGTERM', 'SIGINT']);
      process.on('SIGHUP', () => {}); // the terminal that started it may go
    }
    await node.closed;
    process.exit(0);
  } catch (error) {
    if (isEphemeral) process.exit(printFailure(error));
    const line: FailedStart = { failure: reportOf(error) };
    process.stdout.write(`${JSON.stringify(line)}\n`, () => process.exit(line.failure.exitCode));
  }
}

/** Lets signals take the node down; a second one of the same kind ends the process at once. */
export function stopOn(node: RunningNode, signals: readonly NodeJS.Signals[]): void {
  for (const signal of signals) {
    process.once(signal, () => {
      process.once(signal, () => process.exit(1));
      void node.stop(`it received ${signal}`);
    });
  }
}

/** The first line of stdin, and the end of stdin. */
function readFirstLine(): { readonly line: Promise<string>; readonly ended: Promise<void> } {
  let text = '';
  const ended = new Promise<void>((resolve) => process.stdin.once('end', resolve).once('error', () => resolve()));
  const line = new Promise<string>((resolve) => {
    process.stdin.setEncoding('utf8').on('data', (data: string) => {
      text += data;
      if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n')));
    });
    void ended.then(() => resolve(text || '{}'));
  });
  return { line, ended };
}
