/** Several objectives at once: what dominates what, how crowded a place is, and how much a front covers. All losses are to be small. */

/** One loss for each objective. */
export type Losses = readonly number[];

/** Whether the first is nowhere worse and somewhere better. */
export function dominates(a: Losses, b: Losses): boolean {
  return a.every((loss, i) => loss <= b[i]!) && a.some((loss, i) => loss < b[i]!);
}

/**
 * Each one's rank: 0 where nothing dominates it, 1 where only those of rank 0 do, and so on.
 * Source: Deb et al., 2002 (fast non-dominated sorting).
 */
export function paretoRanks(all: readonly Losses[]): number[] {
  const dominated = all.map((a) => [...all.keys()].filter((j) => dominates(a, all[j]!)));
  const dominators = all.map(() => 0);
  dominated.forEach((others) => others.forEach((j) => { dominators[j]!++; }));
  const ranks = all.map(() => 0);
  let front = [...all.keys()].filter((i) => dominators[i] === 0);
  for (let rank = 0; front.length > 0; rank++) {
    const next: number[] = [];
    for (const i of front) {
      ranks[i] = rank;
      for (const j of dominated[i]!) if (--dominators[j]! === 0) next.push(j);
    }
    front = next;
  }
  return ranks;
}

/**
 * How far each one's neighbours in its own front are, over all objectives; Infinity at a front's ends.
 * Source: Deb et al., 2002 (crowding distance).
 */
export function crowdingDistances(all: readonly Losses[], ranks: readonly number[]): number[] {
  const distances = all.map(() => 0);
  for (let rank = 0; rank <= Math.max(0, ...ranks); rank++) {
    const front = [...all.keys()].filter((i) => ranks[i] === rank);
    for (let objective = 0; objective < (all[0]?.length ?? 0); objective++) {
      const sorted = [...front].sort((a, b) => all[a]![objective]! - all[b]![objective]!);
      const range = all[sorted.at(-1)!]![objective]! - all[sorted[0]!]![objective]!;
      sorted.forEach((i, place) => {
        if (place === 0 || place === sorted.length - 1) distances[i] = Infinity;
        else if (range > 0) distances[i]! += (all[sorted[place + 1]!]![objective]! - all[sorted[place - 1]!]![objective]!) / range;
      });
    }
  }
  return distances;
}

/** The volume that a set dominates, within a reference point that is worse than what is to count. Exact; for fronts of some hundreds and few objectives. */
export function hypervolume(all: readonly Losses[], reference: Losses): number {
  const inside = all.filter((losses) => losses.every((loss, i) => loss < reference[i]!));
  return sliced(inside, reference);
}

/** Slices along the last objective, each of the volume of those above it in the others. */
function sliced(all: readonly Losses[], reference: Losses): number {
  if (all.length === 0) return 0;
  if (reference.length === 1) return reference[0]! - Math.min(...all.map(([loss]) => loss!));
  const last = reference.length - 1;
  const sorted = [...all].sort((a, b) => a[last]! - b[last]!);
  let volume = 0;
  let shadow: Losses[] = [];
  sorted.forEach((losses, i) => {
    const projected = losses.slice(0, last);
    if (!shadow.some((other) => other.every((loss, j) => loss <= projected[j]!))) shadow = [...shadow.filter((other) => !projected.every((loss, j) => loss <= other[j]!)), projected];
    const depth = (sorted[i + 1]?.[last] ?? reference[last]!) - losses[last]!;
    if (depth > 0) volume += depth * sliced(shadow, reference.slice(0, last));
  });
  return volume;
}
