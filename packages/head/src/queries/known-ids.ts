/** What an id that nobody knows may have been meant to be. */
import { makeError, type MusterError } from '@muster/base';
import type { QueryTables } from './queries.js';

const SUGGESTIONS_MAX = 3;
/** Slips of the pen: characters that are wrong, missing or too many. */
const DISTANCE_MAX = 2;

/** Says which kinds of ids there are, and which known ones are the nearest. */
export function unknownId(id: string, tables: QueryTables): MusterError {
  const near = nearestIds(id, tables);
  const want = 'that of a node, worker, driver, job, actor, placement group or lease, the name of an actor, or that of a task or object whose owner is connected';
  return makeError('INVALID_ARGUMENT', { what: `the id '${id}'`, want: near.length === 0 ? want : `${want} (the nearest: ${near.join(', ')})` });
}

/** Those that begin with it come first, then those with the fewest slips. */
function nearestIds(id: string, tables: QueryTables): string[] {
  const found: { readonly id: string; readonly distance: number }[] = [];
  for (const known of knownIds(id, tables)) {
    const distance = id !== '' && known.startsWith(id) ? 0 : slips(id, known);
    if (distance <= DISTANCE_MAX) found.push({ id: known, distance });
  }
  return found.sort((a, b) => a.distance - b.distance || (a.id < b.id ? -1 : 1)).slice(0, SUGGESTIONS_MAX).map((each) => each.id);
}

/** Those of the kind that the id's prefix says; of all kinds, when it says none. */
function* knownIds(id: string, { nodes, processes, jobs, actors, groups, leases }: QueryTables): Generator<string> {
  const kinds: Readonly<Record<string, readonly (() => Iterable<string>)[]>> = {
    node: [() => nodes.byId.keys(), () => nodes.dead.keys()],
    driver: [() => processes.byId.keys(), () => processes.dead.keys()],
    worker: [() => processes.byId.keys(), () => processes.dead.keys()],
    job: [() => jobs.running.keys(), () => jobs.finished.keys()],
    actor: [() => actors.live.keys(), () => actors.dead.keys()],
    pg: [() => groups.live.keys(), () => groups.removed.keys()],
    lease: [() => leases.byId.keys()],
  };
  const named = Object.keys(kinds).find((prefix) => id.startsWith(`${prefix}-`));
  if (named === undefined) yield* actors.names();
  for (const list of named === undefined ? Object.values(kinds).flat() : kinds[named]!) yield* list();
}

/** The edit distance, as far as it matters. Source: Wagner and Fischer, 1974. */
function slips(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > DISTANCE_MAX) return Infinity;
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + Number(a[i - 1] !== b[j - 1])));
    if (Math.min(...next) > DISTANCE_MAX) return Infinity;
    row = next;
  }
  return row[b.length]!;
}
