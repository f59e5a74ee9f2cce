/** Which modules of a list make up each stage of a pipeline: runs of them, so that the dearest stage is as cheap as it can be. */

/**
 * How many modules each stage has, of costs in the list's order: one at least. Of equally good plans that which gives the last stages more. Takes modules^2 * stages.
 * @param stages at most as many as there are modules
 */
export function planStages(costs: readonly number[], stages: number): number[] {
  const until = [0];
  for (const cost of costs) until.push(until.at(-1)! + cost);
  // dearest[s][n]: the cost of the dearest of s + 1 stages that share the first n modules; cut[s][n]: how many of those the stages before the last have.
  const dearest: number[][] = [until];
  const cut: number[][] = [until.map(() => 0)];
  for (let stage = 1; stage < stages; stage++) {
    dearest.push(until.map(() => Infinity));
    cut.push(until.map(() => 0));
    for (let end = stage + 1; end < until.length; end++) {
      for (let start = stage; start < end; start++) {
        const cost = Math.max(dearest[stage - 1]![start]!, until[end]! - until[start]!);
        if (cost >= dearest[stage]![end]!) continue;
        dearest[stage]![end] = cost;
        cut[stage]![end] = start;
      }
    }
  }
  const counts: number[] = [];
  for (let stage = stages - 1, end = costs.length; stage >= 0; stage--) {
    const start = cut[stage]![end]!;
    counts.unshift(end - start);
    end = start;
  }
  return counts;
}
