import { seededRandom } from '@muster/base';
import t from 'tap';
import { choice, int, loguniform, logint, lognormal, normal, ordinal, qloguniform, quniform, uniform, type InferConfig } from './parameters.js';
import { SearchSpace } from './search-space.js';
import { cellAt, coordinateOf, isValue, valueAt } from './scale.js';

/** Holds at compile time: the two types are one. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Whether two configurations are one, but for the last digits of numbers, which a logarithm may change. */
function isNear(a: unknown, b: unknown): boolean {
  if (typeof a === 'number' && typeof b === 'number') return Math.abs(a - b) <= 1e-9 * Math.max(1, Math.abs(a));
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => isNear(a[key as never], b[key as never]));
}

const SPACE = {
  rate: loguniform(1e-5, 1e-1),
  momentum: uniform(-1, 1),
  dropout: quniform(0, 0.5, 0.1),
  width: qloguniform(8, 1024, 8),
  layers: int(1, 6),
  batch: logint(1, 256),
  bias: normal(3, 0.5),
  scale: lognormal(0, 1),
  size: ordinal(['small', 'medium', 'large']),
  seed: 17,
  nested: { deep: [uniform(0, 1), { label: 'fixed' }] },
  kernel: choice([{ kind: 'rbf', gamma: loguniform(1e-4, 1), poly: choice([{ degree: int(2, 5) }, 'none']) }, { kind: 'linear' }, null]),
} as const;

t.test('the type of a configuration follows from its space', async (t) => {
  type Config = InferConfig<{ rate: typeof SPACE.rate; kernel: typeof SPACE.kernel; seed: 17; nested: { flag: true; of: readonly [typeof SPACE.rate] } }>;
  const rate: Same<Config['rate'], number> = true;
  const seed: Same<Config['seed'], 17> = true;
  const nested: Same<Config['nested']['of'][0], number> = true;
  const narrowed = (config: Config): number => (config.kernel?.kind === 'rbf' ? config.kernel.gamma : 0);
  const options = choice(['relu', 'gelu']);
  const labels: Same<InferConfig<typeof options>, 'relu' | 'gelu'> = true;
  t.ok(rate && seed && nested && labels && narrowed);
});

t.test('what is drawn lies in bounds, and goes to a point and back without a change', async (t) => {
  const space = SearchSpace.of(SPACE);
  const random = seededRandom(1);
  for (let i = 0; i < 500; i++) {
    const point = space.sample(random);
    const config = space.configOf(point) as InferConfig<typeof SPACE>;
    t.ok(config.rate >= 1e-5 && config.rate <= 1e-1);
    t.ok(config.width % 8 === 0 && config.width >= 8 && config.width <= 1024);
    t.ok(Number.isInteger(config.layers) && config.layers >= 1 && config.layers <= 6);
    t.ok([0, 0.1, 0.2, 0.3, 0.4, 0.5].includes(config.dropout), `dropout ${config.dropout}`);
    t.ok(config.scale > 0 && config.seed === 17 && config.nested.deep[1].label === 'fixed');
    const back = space.pointOf(config);
    t.ok(isNear(space.configOf(back), config));
    back.forEach((coordinate, index) => t.ok(coordinate === point[index] || Math.abs(coordinate! - point[index]!) < 1e-7));
    t.strictSame(space.pointOf(JSON.parse(JSON.stringify(config))), back, 'also after a log');
  }
});

t.test('large whole numbers are exact', async (t) => {
  const space = SearchSpace.of({ id: int(1e12, 1e12 + 10) });
  const seen = new Set(Array.from({ length: 200 }, (_, i) => (space.configOf([i / 199]) as { id: number }).id));
  t.same([...seen], Array.from({ length: 11 }, (_, i) => 1e12 + i));
});

t.test('what does not exist beside a choice is null, also two choices deep', async (t) => {
  const space = SearchSpace.of(SPACE);
  const index = (path: string): number => space.dimensions.findIndex((dimension) => dimension.path === path);
  const random = seededRandom(2);
  const seen = new Set<string>();
  for (let i = 0; i < 300; i++) {
    const point = space.sample(random);
    const isRbf = point[index('kernel')] === 0;
    t.equal(point[index('kernel[0].gamma')] !== null, isRbf);
    t.equal(point[index('kernel[0].poly[0].degree')] !== null, isRbf && point[index('kernel[0].poly')] === 0);
    seen.add(JSON.stringify((space.configOf(point) as { kernel: object | null }).kernel, (key, value: unknown) => (key === 'gamma' || key === 'degree' ? 0 : value)));
  }
  t.same([...seen].sort(), ['null', '{"kind":"linear"}', '{"kind":"rbf","gamma":0,"poly":"none"}', '{"kind":"rbf","gamma":0,"poly":{"degree":0}}'].sort());
});

t.test('every value is as likely as its distribution says', async (t) => {
  const space = SearchSpace.of({ layers: int(1, 4), rate: loguniform(1, 100), bias: normal(3, 0.5) });
  const random = seededRandom(3);
  const configs = Array.from({ length: 4000 }, () => space.configOf(space.sample(random)) as { layers: number; rate: number; bias: number });
  const part = (holds: (config: (typeof configs)[number]) => boolean): number => configs.filter(holds).length / configs.length;
  for (const layers of [1, 2, 3, 4]) t.ok(Math.abs(part((config) => config.layers === layers) - 0.25) < 0.03);
  t.ok(Math.abs(part(({ rate }) => rate < 10) - 0.5) < 0.03);
  t.ok(Math.abs(part(({ bias }) => bias < 3.5) - 0.8413) < 0.03);
});

t.test('a quantised value is the middle of its cell, and cells tile the unit interval', async (t) => {
  for (const space of [{ x: int(-3, 5) }, { x: logint(1, 40) }, { x: quniform(0.1, 0.75, 0.1) }, { x: qloguniform(2, 60, 4) }, { x: ordinal(['a', 'b', 'c']) }, { x: int(7, 7) }]) {
    const [dimension] = SearchSpace.of(space).dimensions;
    if (dimension?.kind !== 'numeric') throw new Error('a number');
    let edge = 0;
    for (let tries = 0; edge < 1 && tries < 100; tries++) {
      const coordinate = Math.min(1, edge + 1e-9);
      const [low, high] = cellAt(dimension, coordinate);
      t.ok(Math.abs(low - edge) < 1e-6, `${dimension.path}: a cell begins where the last ended`);
      const value = valueAt(dimension, coordinate);
      t.ok(isValue(dimension, value) && coordinateOf(dimension, value) > low && coordinateOf(dimension, value) < high);
      t.equal(valueAt(dimension, high - 1e-9), value);
      edge = high;
    }
    t.equal(edge, 1);
  }
});

t.test('constraints hold for all that is drawn, and impossible ones are named', async (t) => {
  const parameters = { low: uniform(0, 1), high: uniform(0, 1) };
  const ordered = SearchSpace.of(parameters, { constraints: [({ low, high }) => low < high] });
  const random = seededRandom(4);
  for (let i = 0; i < 200; i++) {
    const { low, high } = ordered.configOf(ordered.sample(random)) as { low: number; high: number };
    t.ok(low < high);
  }
  t.throws(() => ordered.pointOf({ low: 0.9, high: 0.1 }), { code: 'INVALID_ARGUMENT', message: /allowed by the constraint \(\{ low, high \}\) => low < high/ });
  const impossible = SearchSpace.of(parameters, { constraints: [({ low }) => low > 2] });
  t.throws(() => impossible.sample(random), { code: 'INVALID_ARGUMENT', message: /low > 2.*none of 2000/ });
});

t.test('a constraint that answers with a promise is refused, because that would always hold', async (t) => {
  const space = SearchSpace.of({ x: uniform(0, 1) }, { constraints: [(async () => false) as never] });
  t.throws(() => space.sample(seededRandom(1)), { code: 'INVALID_ARGUMENT', message: /answers at once with true or false/ });
});

t.test('what cannot be searched is refused with its path', async (t) => {
  const refused: readonly [space: unknown, message: RegExp][] = [
    [{}, /at least one parameter/],
    [{ a: 1, b: { c: 'x' } }, /at least one parameter/],
    [null, /an object of parameters/],
    [{ net: { lr: loguniform }, x: uniform(0, 1) }, /'net\.lr'.*what loguniform\(\.\.\.\) makes, and not the function itself/],
    [{ net: { lr: uniform(2, 1) } }, /'net\.lr'.*lower bound first, not 2 before 1/],
    [{ lr: loguniform(0, 1) }, /'lr'.*above zero/],
    [{ lr: uniform(NaN, 1) }, /'lr'.*finite bounds, not NaN/],
    [{ lr: uniform(1, 1) }, /'lr'.*the constant 1/],
    [{ n: int(0.5, 3) }, /'n'.*whole bounds/],
    [{ n: int(0.5, 3.5) }, /'n'.*whole bounds/],
    [{ q: quniform(0, 1, 0) }, /'q'.*step above zero/],
    [{ b: normal(0, 0) }, /'b'.*deviation above zero/],
    [{ c: choice([]) }, /'c'.*at least one option/],
    [{ c: choice(['x', 'y', 'x']) }, /'c'.*options 0 and 2 are both x/],
    [{ c: choice([{ d: uniform(3, 2) }, 1]) }, /'c\[0\]\.d'/],
    [{ c: ordinal([{ d: uniform(0, 1) }, 1]) }, /'c'.*plain values/],
  ];
  for (const [space, message] of refused) t.throws(() => SearchSpace.of(space as never), { code: 'INVALID_ARGUMENT', message });
  t.throws(() => choice('relu' as never), { code: 'INVALID_ARGUMENT', message: /array of options/ });
});

t.test('a configuration that is not of the space is refused with what is wrong', async (t) => {
  const space = SearchSpace.of({ layers: int(1, 6), net: { act: choice(['relu', 'gelu']), rate: uniform(0, 1) } });
  const good = { layers: 2, net: { act: 'relu', rate: 0.5 } };
  t.strictSame(space.configOf(space.pointOf(good)), good);
  const refused: readonly [config: unknown, message: RegExp][] = [
    [{ ...good, layers: 9 }, /layers must be one of 1, 2, \.\.\. 6, not 9/],
    [{ ...good, layers: 2.5 }, /layers must be/],
    [{ ...good, layers: undefined }, /layers must be .* not undefined/],
    [{ ...good, net: { act: 'tanh', rate: 0 } }, /net\.act must be one of relu, gelu, not tanh/],
    [{ ...good, net: { act: 'relu', rate: NaN } }, /net\.rate must be a number from 0 to 1, not NaN/],
    [{ ...good, extra: 1 }, /extra is not in the space/],
    [null, /must be an object/],
  ];
  for (const [config, message] of refused) t.throws(() => space.pointOf(config), { code: 'INVALID_ARGUMENT', message });
});
