/** The plans of a training: what is reduced when, which stage does what, and who holds which part. */
import { seededRandom, type Random } from '@muster/base';
import t from 'tap';
import { BucketLine } from './bucket-line.js';
import { planBuckets, type BucketSlot, type GradientShape } from './bucket-plan.js';
import { groupName, MESH_AXES, meshSize, placeOf, rankAt, ranksAlong, type MeshShape } from './device-mesh.js';
import { pipelineSchedule, type PipelineStep } from './pipeline-schedule.js';
import { isComparable, partOf, sharedRuns, wholeGrid, type ParameterPart } from './parameter-part.js';
import { shardElements, slotShard, type Span } from './shards.js';
import { planStages } from './stage-plan.js';

const integer = (random: Random, from: number, to: number): number => from + Math.floor(random.next() * (to - from + 1));

function shuffled<T>(values: readonly T[], random: Random): T[] {
  return values.map((value) => ({ value, key: random.next() })).sort((a, b) => a.key - b.key).map(({ value }) => value);
}

t.test('buckets', async (t) => {
  const f32 = (name: string, elementCount: number): GradientShape => ({ name, elementCount, dtype: 'f32', elementBytes: 4 });

  t.test('take gradients last first, and close once they have their size', async (t) => {
    const buckets = planBuckets([f32('a', 10), f32('b', 100), f32('c', 3), f32('d', 1)], { firstBytes: 16, bytes: 400 });
    t.strictSame(buckets, [
      { dtype: 'f32', elementCount: 4, slots: [{ gradient: 3, offset: 0, elementCount: 1 }, { gradient: 2, offset: 1, elementCount: 3 }] },
      { dtype: 'f32', elementCount: 100, slots: [{ gradient: 1, offset: 0, elementCount: 100 }] },
      { dtype: 'f32', elementCount: 10, slots: [{ gradient: 0, offset: 0, elementCount: 10 }] },
    ]);
  });

  t.test('hold each gradient once, one type each, whatever the shapes', async (t) => {
    for (let seed = 1; seed <= 100; seed++) {
      const random = seededRandom(seed);
      const gradients = Array.from({ length: integer(random, 0, 40) }, (_, index): GradientShape =>
        random.next() < 0.3 ? { name: `h${index}`, elementCount: integer(random, 1, 300), dtype: 'bf16', elementBytes: 2 } : f32(`p${index}`, integer(random, 1, 300)));
      const buckets = planBuckets(gradients, { firstBytes: integer(random, 1, 1000), bytes: integer(random, 1, 3000) });
      const slots = buckets.flatMap((bucket) => bucket.slots.map((slot) => ({ ...slot, dtype: bucket.dtype })));
      t.strictSame(slots.map(({ gradient }) => gradient).sort((a, b) => a - b), [...gradients.keys()], `seed ${seed}`);
      t.ok(slots.every(({ gradient, dtype, elementCount }) => gradients[gradient]!.dtype === dtype && gradients[gradient]!.elementCount === elementCount));
      t.ok(buckets.every((bucket) => bucket.elementCount === bucket.slots.reduce((offset, slot) => (slot.offset === offset ? offset + slot.elementCount : NaN), 0)), 'without gaps');
    }
  });

  t.test('begin in their order at every rank, in whatever order gradients become ready, each as early as that allows', async (t) => {
    for (let seed = 1; seed <= 100; seed++) {
      const random = seededRandom(seed);
      const gradients = Array.from({ length: integer(random, 1, 20) }, (_, index) => f32(`p${index}`, integer(random, 1, 50)));
      const buckets = planBuckets(gradients, { firstBytes: integer(random, 1, 200), bytes: integer(random, 1, 400) });
      const line = new BucketLine(buckets, gradients.length);
      for (let pass = 0; pass < 2; pass++) {
        const ready = new Set<number>();
        const order = shuffled([...gradients.keys()], random);
        const begun = order.map((gradient) => [line.ready(gradient), line.ready(gradient), line.unready().length]);
        t.strictSame(begun, order.map((gradient, index) => {
          ready.add(gradient);
          const full = buckets.findIndex(({ slots }) => slots.some((slot) => !ready.has(slot.gradient)));
          const expected = full < 0 ? buckets.length : full;
          return [expected, expected, gradients.length - index - 1]; // being told twice changes nothing
        }), `seed ${seed}`);
        t.ok(order.every((gradient) => line.hasBegun(gradient)));
        line.reset();
        t.notOk(order.some((gradient) => line.hasBegun(gradient)));
      }
    }
  });
});

/** Plays all stages at once, each step taking one unit: a stage waits until what it needs has arrived. @returns the units it took; null: nobody can go on */
function play(schedules: readonly (readonly PipelineStep[])[]): number | null {
  const stages = schedules.length;
  const at = schedules.map(() => 0);
  const done = { forward: schedules.map(() => -1), backward: schedules.map(() => -1) };
  for (let unit = 0; ; unit++) {
    if (schedules.every((schedule, stage) => at[stage] === schedule.length)) return unit;
    const movable = schedules.flatMap((schedule, stage) => {
      const step = schedule[at[stage]!];
      if (!step) return [];
      const isFed = step.kind === 'forward' ? stage === 0 || done.forward[stage - 1]! >= step.microBatch
        : done.forward[stage]! >= step.microBatch && (stage === stages - 1 || done.backward[stage + 1]! >= step.microBatch);
      return isFed ? [{ stage, step }] : [];
    });
    if (movable.length === 0) return null;
    for (const { stage, step } of movable) {
      done[step.kind][stage] = step.microBatch;
      at[stage]!++;
    }
  }
}

t.test('a pipeline', async (t) => {
  t.strictSame(pipelineSchedule({ stage: 1, stages: 3, microBatches: 3 }).map(({ kind, microBatch }) => `${kind[0]}${microBatch}`), ['f0', 'f1', 'b0', 'f2', 'b1', 'b2']);

  t.test('ends in the time of its bubble, keeping few activations', async (t) => {
    for (let stages = 1; stages <= 8; stages++) {
      for (let microBatches = 1; microBatches <= 12; microBatches++) {
        const schedules = Array.from({ length: stages }, (_, stage) => pipelineSchedule({ stage, stages, microBatches }));
        t.equal(play(schedules), 2 * (microBatches + stages - 1), `${stages} stages, ${microBatches} micro-batches`);
        schedules.forEach((schedule, stage) => {
          let kept = 0;
          let keptMost = 0;
          for (const { kind } of schedule) keptMost = Math.max(keptMost, (kept += kind === 'forward' ? 1 : -1));
          t.ok(keptMost <= Math.min(stages - stage, microBatches));
          const inOrder = (kind: string): number[] => schedule.filter((step) => step.kind === kind).map((step) => step.microBatch);
          t.strictSame([inOrder('forward'), inOrder('backward')], [[...Array(microBatches).keys()], [...Array(microBatches).keys()]]);
        });
      }
    }
  });
});

t.test('modules are shared among stages so that the dearest stage is as cheap as it can be', async (t) => {
  const dearest = (costs: readonly number[], counts: readonly number[]): number => {
    let start = 0;
    return Math.max(...counts.map((count) => costs.slice(start, (start += count)).reduce((sum, cost) => sum + cost, 0)));
  };
  const plans = (modules: number, stages: number): number[][] =>
    (stages === 1 ? [[modules]] : Array.from({ length: modules - stages + 1 }, (_, more) => plans(modules - more - 1, stages - 1).map((rest) => [more + 1, ...rest])).flat());
  for (let seed = 1; seed <= 100; seed++) {
    const random = seededRandom(seed);
    const costs = Array.from({ length: integer(random, 1, 8) }, () => integer(random, 0, 9));
    const stages = integer(random, 1, costs.length);
    const counts = planStages(costs, stages);
    const all = plans(costs.length, stages);
    t.ok(all.some((plan) => plan.join() === counts.join()), `seed ${seed}`);
    t.equal(dearest(costs, counts), Math.min(...all.map((plan) => dearest(costs, plan))));
  }
});

t.test('a mesh', async (t) => {
  const shape: MeshShape = { pipeline: 2, data: 3, tensor: 2 };
  const ranks = [...Array(meshSize(shape)).keys()];
  t.strictSame(placeOf(0, shape), { pipeline: 0, data: 0, tensor: 0 });
  t.strictSame(ranksAlong('tensor', 0, shape), [0, 1], 'parts of a layer are neighbours');
  t.strictSame(ranksAlong('data', 1, shape), [1, 3, 5]);
  t.strictSame(ranksAlong('pipeline', 4, shape), [4, 10]);
  for (const rank of ranks) t.equal(rankAt(placeOf(rank, shape), shape), rank);
  for (const axis of MESH_AXES) {
    const names = new Set(ranks.map((rank) => groupName(axis, rank, shape)));
    t.equal(names.size, ranks.length / shape[axis]);
    for (const rank of ranks) {
      const named = ranks.filter((other) => groupName(axis, other, shape) === groupName(axis, rank, shape));
      t.strictSame(ranksAlong(axis, rank, shape), named, 'its members agree on who they are');
    }
  }
});

t.test('shards', async (t) => {
  const slot = { gradient: 0, offset: 2, elementCount: 4 };
  t.strictSame([0, 1, 2].map((rank) => slotShard(slot, 7, { rank, ranks: 3 })), [{ start: 0, end: 1 }, { start: 1, end: 4 }, { start: 4, end: 4 }]);

  t.test('hold every element of a bucket once', async (t) => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = seededRandom(seed);
      const [bucket] = planBuckets(Array.from({ length: integer(random, 1, 6) }, (_, index): GradientShape => ({ name: `p${index}`, elementCount: integer(random, 1, 12), dtype: 'f32', elementBytes: 4 })));
      const cut = (slot: BucketSlot, ranks: number): Span[] => Array.from({ length: ranks }, (_, rank) => slotShard(slot, bucket!.elementCount, { rank, ranks }));
      const ranks = integer(random, 1, 9);
      for (const slot of bucket!.slots) {
        const elements = (spans: readonly Span[]): number[] => spans.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, index) => start + index));
        t.strictSame(elements(cut(slot, ranks)), [...Array(slot.elementCount).keys()], `seed ${seed}`);
      }
      const sizes = Array.from({ length: ranks }, (_, rank) => bucket!.slots.reduce((sum, slot) => sum + slotShard(slot, bucket!.elementCount, { rank, ranks }).end - slotShard(slot, bucket!.elementCount, { rank, ranks }).start, 0));
      t.ok(Math.max(...sizes) <= shardElements(bucket!.elementCount, ranks), 'in equal parts');
    }
  });
});

t.test('parts of a parameter are put together from parts that were cut otherwise', async (t) => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = seededRandom(seed);
    const grid = { panels: integer(random, 1, 4), rows: integer(random, 1, 6), elements: integer(random, 1, 4) };
    const size = grid.panels * grid.rows * grid.elements;
    const spans = (count: number, ranks: number): Span[] => Array.from({ length: ranks }, (_, rank) => ({ start: Math.floor((rank * count) / ranks), end: Math.floor(((rank + 1) * count) / ranks) }));
    /** Row parts, of each of which there are spans. A parameter that is not cut along its rows may not know of them. */
    const cut = (rowRanks: number, spanRanks: number): ParameterPart[] => spans(grid.rows, rowRanks).flatMap((held) => {
      const part = rowRanks === 1 && random.next() < 0.5 ? partOf(wholeGrid(size)) : partOf(grid, held);
      return spans(part.span.end, spanRanks).map((span) => ({ ...part, span }));
    });
    /** The dumb way: the number of each element in the whole. */
    const elementsOf = ({ panels, rows, elements, held, span }: ParameterPart): number[] => Array.from({ length: panels * rows * elements }, (_, element) => element)
      .filter((element) => Math.floor(element / elements) % rows >= held.start && Math.floor(element / elements) % rows < held.end).slice(span.start, span.end);
    const [old, now] = [cut(integer(random, 1, grid.rows), integer(random, 1, 3)), cut(integer(random, 1, grid.rows), integer(random, 1, 3))];
    for (const to of now) {
      const wanted = elementsOf(to);
      const target = wanted.map(() => -1);
      for (const from of old) {
        t.ok(isComparable(to, from));
        const source = elementsOf(from);
        for (const run of sharedRuns(to, from)) for (let index = 0; index < run.count; index++) target[run.to + index] = source[run.from + index]!;
      }
      t.strictSame(target, wanted, `seed ${seed}`);
    }
  }
  t.notOk(isComparable(partOf({ panels: 1, rows: 4, elements: 2 }, { start: 0, end: 2 }), partOf({ panels: 2, rows: 4, elements: 1 }, { start: 0, end: 2 })));
  t.notOk(isComparable(partOf(wholeGrid(8)), partOf(wholeGrid(9))));
});
