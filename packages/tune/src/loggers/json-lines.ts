/** Everything that happens in an experiment as lines of JSON, as it happens: for programs that follow it. */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import type { ExperimentLogger } from '../logger.js';

/** Adds the records of the log to a file, without its checksums. A resumed experiment goes on in the same file. */
export function jsonLines(file: string): ExperimentLogger {
  let descriptor: number | null = null;
  const write = (data: unknown): void => writeFileSync(descriptor!, `${JSON.stringify(data)}\n`);
  return {
    name: 'jsonLines',
    begin: ({ begin, table }) => {
      descriptor = openSync(file, 'a');
      if (table.begun === 0) write(begin);
    },
    record: write,
    close: async () => {
      if (descriptor !== null) closeSync(descriptor);
    },
  };
}
