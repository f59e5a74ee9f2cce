/** The loggers of an experiment. One that fails is left out from then on: what is shown must not end what is shown. */
import type { ExperimentLogger, ExperimentView } from '../logger.js';
import type { LogRecord } from '../machine/records.js';

/** Tells all loggers. */
export class LoggerSet {
  readonly #loggers: Set<ExperimentLogger>;
  readonly #warn: (text: string) => void;

  constructor(loggers: readonly ExperimentLogger[], warn: (text: string) => void) {
    this.#loggers = new Set(loggers);
    this.#warn = warn;
  }

  async begin(view: ExperimentView): Promise<void> {
    for (const logger of [...this.#loggers]) await this.#guard(logger, () => logger.begin(view));
  }

  record(record: LogRecord): void {
    for (const logger of this.#loggers) {
      try {
        logger.record(record);
      } catch (error) {
        this.#drop(logger, error);
      }
    }
  }

  async close(): Promise<void> {
    for (const logger of [...this.#loggers]) await this.#guard(logger, () => logger.close());
  }

  async #guard(logger: ExperimentLogger, act: () => void | Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.#drop(logger, error);
    }
  }

  #drop(logger: ExperimentLogger, error: unknown): void {
    this.#loggers.delete(logger);
    this.#warn(`the logger ${logger.name} failed, and is left out from now on: ${error instanceof Error ? error.message : String(error)}`);
  }
}
