/** Reads what others ask for. Nothing that has passed here can upset the head's arithmetic. */
import { LABEL_WEIGHT_MAX, makeError, RESOURCE_SCALE, type MusterError, type ResourceSet } from '@muster/base';
import { resourcesFromMessage, type Demand as DemandMessage, type LabelTerm as LabelTermMessage, type Resources } from '@muster/protocol';
import { namesNodes, type LabelTerm, type PlacementRequest } from '@muster/scheduler';
import { LABEL_VALUES_MAX, LABELS_MAX, NAME_MAX_CHARS, RESOURCE_NAMES_MAX } from './limits.js';

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

/** A task's or actor's request, as the head understands it. */
export interface ReadDemand {
  readonly request: PlacementRequest;
  readonly isSpread: boolean;
  readonly waitsForNodes: boolean;
}

/** What a task or actor asks for. @throws MusterError PROTOCOL */
export function readDemand(message: DemandMessage | null): ReadDemand {
  const resources = readResources(message?.resources ?? null);
  const gpus = resources['gpu'] ?? 0;
  if (gpus > RESOURCE_SCALE && gpus % RESOURCE_SCALE !== 0) throw refusal(`${gpus / RESOURCE_SCALE} gpus, neither a fraction below 1 nor a whole number`);
  const placement = message?.placement ?? null;
  const terms = placement?.labels ?? [];
  if (terms.length > LABELS_MAX) throw refusal(`more than ${LABELS_MAX} labels`);
  const request = { resources, labels: terms.map(readTerm) };
  // A node that is named and has gone does not return under its id.
  return { request, isSpread: placement?.spread ?? false, waitsForNodes: (message?.waitForNodes ?? false) && !namesNodes(request) };
}

function readTerm({ key, operator, values, weight }: LabelTermMessage): LabelTerm {
  if (operator !== 'in' && operator !== 'not-in' && operator !== 'exists' && operator !== 'not-exists') throw refusal(`the operator '${operator}' of a label`);
  if (values.length > LABEL_VALUES_MAX) throw refusal(`a label with more than ${LABEL_VALUES_MAX} values`);
  if (!Number.isSafeInteger(weight) || weight < 0 || weight > LABEL_WEIGHT_MAX) throw refusal(`a label of the weight ${weight}`);
  return { key, operator, values, weight };
}

/** A name for people, of bounded length. */
export const readName = (name: string): string => (name.length <= NAME_MAX_CHARS ? name : `${name.slice(0, NAME_MAX_CHARS - 1)}…`);

/** The failure of a message that breaks the rules: it ends the stream it came on. */
export const refusal = (cause: string): MusterError => makeError('PROTOCOL', { what: 'a peer', cause });
