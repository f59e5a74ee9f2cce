/** The ports through which pure code sees the world. The simulation has its own of each. */

/** Time. `nowMs` is monotonic and starts anywhere; `wallMs` is milliseconds since 1970, for people only. */
export interface Clock {
  nowMs(): number;
  wallMs(): number;
}

/** Randomness from one seed. */
export interface Random {
  /** A float in [0, 1). */
  next(): number;
  /** That many lower-case hexadecimal digits. */
  hex(digits: number): string;
}

/** Structured logging: a constant event name, and fields with ids. Only edges log. */
export interface Logger {
  debug(event: string, fields?: Record<string, unknown>): void;
  info(event: string, fields?: Record<string, unknown>): void;
  warn(event: string, fields?: Record<string, unknown>): void;
  error(event: string, fields?: Record<string, unknown>): void;
}
