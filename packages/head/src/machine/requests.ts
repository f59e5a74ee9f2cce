/** Reads what others ask for. Nothing that has passed here can upset the head's arithmetic. */
import { makeError, RESOURCE_SCALE, type MusterError, type ResourceSet } from '@muster/base';
import { resourcesFromMessage, type Demand as DemandMessage, type Resources } from '@muster/protocol';
import { NODE_LABEL, type LabelTerm, type PlacementRequest } from '@muster/scheduler';
import { LABELS_MAX, NAME_MAX_CHARS, RESOURCE_NAMES_MAX } from './limits.js';

/** Reads amounts; those of zero are left out. @throws MusterError PROTOCOL */
export function readResources(message: Resources | null): ResourceSet {
  const amounts = resourcesFromMessage(message);
  const names = Object.keys(amounts);
  if (names.length > RESOURCE_NAMES_MAX) throw refusal(`${names.length} resources, more than ${RESOURCE_NAMES_MAX}`);
  const set: Record<string, number> = {};
  for (const name of names) {
    // Names of Object's own members would be found in every set.
    if (name in Object.prototype) throw refusal(`the resource name ${name}`);
    if (amounts[name]! > 0) set[name] = amounts[name]!;
  }
  return set;
}

/** What a task or actor asks for, and whether it wants to be spread. @throws MusterError PROTOCOL */
export function readDemand(message: DemandMessage | null): { request: PlacementRequest; isSpread: boolean } {
  const resources = readResources(message?.resources ?? null);
  const gpus = resources['gpu'] ?? 0;
  if (gpus > RESOURCE_SCALE && gpus % RESOURCE_SCALE !== 0) throw refusal(`${gpus / RESOURCE_SCALE} gpus, neither a fraction below 1 nor a whole number`);
  const placement = message?.placement ?? null;
  const labels = Object.entries(placement?.labels ?? {}).map(([key, value]) => oneOf(key, value));
  if (labels.length > LABELS_MAX) throw refusal(`more than ${LABELS_MAX} labels`);
  if (placement !== null && placement.nodeId !== '') labels.push(oneOf(NODE_LABEL, placement.nodeId));
  return { request: { resources, labels }, isSpread: placement?.spread ?? false };
}

const oneOf = (key: string, value: string): LabelTerm => ({ key, operator: 'in', values: [value], weight: 0 });

/** A name for people, of bounded length. */
export const readName = (name: string): string => (name.length <= NAME_MAX_CHARS ? name : `${name.slice(0, NAME_MAX_CHARS - 1)}…`);

/** The failure of a message that breaks the rules: it ends the stream it came on. */
export const refusal = (cause: string): MusterError => makeError('PROTOCOL', { what: 'a peer', cause });
