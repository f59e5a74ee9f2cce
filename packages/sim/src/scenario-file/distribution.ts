/** What amounts are drawn from: durations of tasks and the times between them. */
import type { Random } from '@muster/base';
import type { Fields } from './fields.js';

/** A distribution of positive amounts. */
export interface Distribution {
  readonly sample: (random: Random) => number;
}

/** The names of distributions. */
const NAMES = ['constant', 'uniform', 'exponential', 'lognormal', 'pareto'] as const;
/** Longer ones would keep a simulation from ending. */
const SAMPLE_MAX_MS = 7 * 86_400_000;

/** A normal deviate. Source: Box and Muller, 1958. */
function gaussian(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
}

/**
 * Reads a duration that is drawn: `"5ms"`, or a table such as `{ distribution = "lognormal", median = "1s", sigma = 1.2 }`.
 * @throws MusterError INVALID_ARGUMENT
 */
export function readDurations(fields: Fields, key: string): Distribution {
  if (typeof fields.table[key] !== 'object') {
    const durationMs = fields.durationMs(key);
    return { sample: () => durationMs };
  }
  const inner = fields.inner(key);
  const draw = readDraw(inner);
  const maxMs = inner.durationMs('max', `${SAMPLE_MAX_MS}ms`);
  inner.end();
  return { sample: (random) => Math.min(maxMs, draw(random)) };
}

function readDraw(fields: Fields): (random: Random) => number {
  switch (fields.choice('distribution', NAMES)) {
    case 'constant': {
      const valueMs = fields.durationMs('value');
      return () => valueMs;
    }
    case 'uniform': {
      const [minMs, maxMs] = fields.durationRangeMs('range');
      return (random) => minMs + random.next() * (maxMs - minMs);
    }
    case 'exponential': {
      const meanMs = fields.durationMs('mean');
      return (random) => -meanMs * Math.log(1 - random.next());
    }
    case 'lognormal': {
      const medianMs = fields.durationMs('median');
      const sigma = fields.number('sigma', { min: 0, max: 10 });
      return (random) => medianMs * Math.exp(sigma * gaussian(random));
    }
    case 'pareto': {
      const minMs = fields.durationMs('min');
      const alpha = fields.number('alpha', { min: 0.1, max: 100 });
      return (random) => minMs * (1 - random.next()) ** (-1 / alpha);
    }
  }
}
