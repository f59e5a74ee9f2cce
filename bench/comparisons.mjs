/**
 * What the core benchmark compares, and the targets it holds Muster to. Data only; what each name measures stands in
 * core-names.md.
 *
 * @typedef {object} Target A ratio where a peer is named beside it, else Muster's own value.
 * @property {number} [atLeast]
 * @property {number} [atMost]
 *
 * @typedef {Target & { peer: string, name?: string }} Against The peer's record has the same name where none is given.
 *
 * @typedef {object} Comparison
 * @property {string} name Muster's record.
 * @property {readonly Against[]} against
 * @property {Target} [target] A limit on Muster's own value, in the record's unit.
 */

/** @type {readonly Comparison[]} */
export const COMPARISONS = [
  {
    name: 'single client tasks sync',
    against: [{ peer: 'ray', atLeast: 12 }, { peer: 'piscina' }, { peer: 'workerpool' }, { peer: 'bullmq' }],
  },
  {
    name: 'single client tasks sync p50',
    against: [
      { peer: 'raw-socket', name: 'unix socket ping p50', atMost: 5 },
      { peer: 'piscina' }, { peer: 'workerpool' }, { peer: 'bullmq' },
    ],
  },
  {
    name: 'single client tasks async',
    against: [
      { peer: 'ray', atLeast: 200 },
      { peer: 'piscina', atLeast: 10 },
      { peer: 'piscina', name: 'single client tasks async 10k', atLeast: 10 },
      { peer: 'workerpool' }, { peer: 'bullmq' },
    ],
  },
  { name: 'single client tasks and get batch', against: [{ peer: 'ray', atLeast: 100 }] },
  { name: 'single client wait 1k refs', against: [{ peer: 'ray', atLeast: 200 }] },
  { name: '1:1 actor calls sync', against: [{ peer: 'ray', atLeast: 8 }] },
  { name: 'placement group create/removal', against: [{ peer: 'ray', atLeast: 10 }] },
  { name: '1:1 actor calls async', against: [{ peer: 'ray', atLeast: 60 }] },
  { name: 'single client put calls (Plasma Store)', against: [{ peer: 'ray', atLeast: 50 }] },
  { name: 'single client get calls (Plasma Store)', against: [{ peer: 'ray', atLeast: 20 }] },
  {
    name: 'put large float32array',
    against: [
      { peer: 'memcpy', name: 'warm memcpy', atLeast: 0.85 },
      { peer: 'memcpy', name: 'warm memcpy float32array', atLeast: 0.85 },
    ],
  },
  { name: 'time to first result', against: [], target: { atMost: 700 } },
  { name: '1m queued tasks time', against: [], target: { atMost: 6 } },
  { name: '1m queued tasks memory', against: [], target: { atMost: 600 } },
  { name: 'bytes per queued task', against: [] },
  // Without a target: the rest of what `ray microbenchmark` measures on one node.
  ...[
    'multi client put calls (Plasma Store)',
    'single client put gigabytes',
    'multi client put gigabytes',
    'single client get object containing 10k refs',
    'multi client tasks async',
    '1:1 actor calls concurrent',
    '1:n actor calls async',
    'n:n actor calls async',
    'n:n actor calls with arg async',
    '1:1 async-actor calls sync',
    '1:1 async-actor calls async',
    '1:1 async-actor calls with args async',
    '1:n async-actor calls async',
    'n:n async-actor calls async',
  ].map((name) => ({ name, against: [{ peer: 'ray' }] })),
];

/**
 * Whether a value or a ratio reaches its target; `null` without one.
 * @param {number} value @param {Target} target
 */
export function reaches(value, { atLeast, atMost }) {
  if (atLeast !== undefined) return value >= atLeast;
  return atMost === undefined ? null : value <= atMost;
}
