/** The values that core makes itself and that must be made again on the other side, rather than be copied. */
import { MusterError } from '@muster/base';
import { MUSTER_ERROR_FORM, musterErrorFromParts, musterErrorParts } from '../values/errors.js';
import type { SpecialForms } from '../values/serializer.js';

/** How a value names its form: see SpecialForms. */
export const FORM: unique symbol = Symbol.for('muster.form');

export interface SpecialForm {
  readonly form: string;
  readonly parts: readonly unknown[];
}

/** All forms; `make` of those that need other modules is given by them, so that no import goes in a circle. */
export function specialForms(makers: Readonly<Record<string, (parts: readonly unknown[]) => object>>): SpecialForms {
  const all: Readonly<Record<string, (parts: readonly unknown[]) => object>> = { ...makers, [MUSTER_ERROR_FORM]: musterErrorFromParts };
  return {
    take: (value) => {
      if (value instanceof MusterError) return { form: MUSTER_ERROR_FORM, parts: musterErrorParts(value) };
      return (value as { [FORM]?: SpecialForm })[FORM];
    },
    make: (form, parts) => {
      const make = all[form];
      if (!make) throw new TypeError(`unknown form ${form}`);
      return make(parts);
    },
  };
}
