/**
 * A node's own log: structured lines in `logs/node.log` of its folder. The library is loaded some time after the node is ready, because
 * programs wait for the node; what is logged before waits in memory.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Logger } from '@muster/base';

/** Where it is, by the node's folder. */
export const nodeLogFile = (folder: string): string => join(folder, 'logs', 'node.log');

type Level = keyof Logger;
interface Entry {
  readonly level: Level;
  readonly event: string;
  readonly fields: Record<string, unknown>;
}

/** A log that is not open yet. */
export class NodeLog implements Logger {
  #pending: Entry[] = [];
  #write = (entry: Entry): void => { this.#pending.push(entry); };

  debug(event: string, fields: Record<string, unknown> = {}): void { this.#write({ level: 'debug', event, fields }); }
  info(event: string, fields: Record<string, unknown> = {}): void { this.#write({ level: 'info', event, fields }); }
  warn(event: string, fields: Record<string, unknown> = {}): void { this.#write({ level: 'warn', event, fields }); }
  error(event: string, fields: Record<string, unknown> = {}): void { this.#write({ level: 'error', event, fields }); }

  /** Writes to the file from now on, and what was logged before. Each line is on disk when the call returns: the last one matters most. */
  async open(file: string): Promise<void> {
    const { destination, pino } = await import('pino');
    if (!existsSync(dirname(dirname(file)))) return; // the node has ended meanwhile, and its folder is gone
    const options = { base: undefined, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (level: string) => ({ level }) } };
    const log = pino(options, destination({ dest: file, sync: true, append: true, mkdir: true, mode: 0o600 }));
    this.#write = ({ level, event, fields }) => log[level](fields, event);
    for (const entry of this.#pending) this.#write(entry);
    this.#pending = [];
  }
}
