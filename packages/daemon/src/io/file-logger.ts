/** Structured log lines in a file, for daemons that are not given a logger. */
import { join } from 'node:path';
import { destination, pino } from 'pino';
import type { Logger } from '@muster/base';

/** Logs to `daemon.log` in the folder, from the level info on. */
export function fileLogger(folder: string): Logger {
  const log = pino({ base: undefined }, destination({ dest: join(folder, 'daemon.log'), sync: true, mode: 0o600 }));
  return {
    debug: (event, fields) => log.debug(fields ?? {}, event),
    info: (event, fields) => log.info(fields ?? {}, event),
    warn: (event, fields) => log.warn(fields ?? {}, event),
    error: (event, fields) => log.error(fields ?? {}, event),
  };
}
