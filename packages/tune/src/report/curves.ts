/** Learning curves of an experiment, from its log. */
import type { LogRecord } from '../machine/records.js';
import type { TrialTable } from '../machine/trial-table.js';

/** Of a longer curve every second point is dropped, again and again: enough for a picture. */
const POINTS_MAX = 256;

/** The first objective by step. */
export type Curve = readonly (readonly [step: number, value: number])[];

/** The curves of all trials that reported, by trial. */
export function curvesOf(records: Iterable<LogRecord>, table: TrialTable): ReadonlyMap<string, Curve> {
  const curves = new Map<string, (readonly [number, number])[]>();
  for (const record of records) {
    const value = record.kind === 'report' ? table.valuesOf(record.metrics)?.[0] : undefined;
    if (record.kind !== 'report' || value === undefined) continue;
    const curve = curves.get(record.id) ?? [];
    curve.push([record.step, value]);
    curves.set(record.id, curve.length > POINTS_MAX ? curve.filter((_, index) => index % 2 === 1) : curve);
  }
  return curves;
}
