/** The benchmark of placement groups. Name and body are Ray's: see bench/core-names.md. */
import { placementGroup } from '@muster/core';
import { rate, type Benchmark } from './measure.js';

const GROUPS = 100;
/** Ray's bundle has 0.001 of a custom resource, which its cluster has for this. */
const BUNDLE = { cpus: 0.001 };

export function groupBenchmarks(): readonly Benchmark[] {
  return [
    rate('placement group create/removal', GROUPS, async () => {
      const groups = await Promise.all(Array.from({ length: GROUPS }, () => placementGroup([BUNDLE])));
      await Promise.all(groups.map((group) => group.remove()));
    }),
  ];
}
