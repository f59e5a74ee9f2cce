/** What JavaScript may hand to a communicator: anything, and it is accepted or refused. What calls do is tested in C++ and in packages/collective. */
import t from 'tap';
import { Communicator, type CommunicatorCall } from '../index.js';

const ALL_REDUCE = 1;

t.test('arguments drawn at random are accepted or refused, and the communicator goes on', async (t) => {
  const communicator = await Communicator.open(`test-${process.pid}-random`, 0, 1, 10_000);
  let state = 1;
  const below = (limit: number): number => (state = (1664525 * state + 1013904223) % 2 ** 32) % limit;
  const detached = new Float32Array(4);
  structuredClone(detached, { transfer: [detached.buffer] });
  const memory = new ArrayBuffer(64);
  const values: readonly (() => unknown)[] = [
    () => detached, () => new DataView(memory), () => [1, 2], () => null, () => undefined, () => -1, () => 0.5, () => NaN, () => 2 ** 40, () => 2 ** 53, () => 'x', () => 1n,
    () => Symbol('x'), () => ({}), () => true,
  ];
  const any = (): unknown => values[below(values.length)]!();
  const orAny = <T>(value: () => T): unknown => (below(12) === 0 ? any() : value());
  const array = (): unknown => orAny(() => [new Float32Array(below(9)), new Uint16Array(memory, 2 * below(16), below(9)), new Float64Array(memory, 0, below(8)), new Uint8Array(new SharedArrayBuffer(8))][below(4)]);
  const draw = (): CommunicatorCall => {
    const source = array();
    const target = below(2) === 0 ? source : array();
    return [orAny(() => below(12) + 256 * below(11) + 65_536 * below(7)), orAny(() => below(2)), source, target, orAny(() => below(9)), orAny(() => 'here')] as unknown as CommunicatorCall;
  };
  let accepted = 0;
  for (let round = 0; round < 8_000; round++) {
    try {
      await (below(3) === 0 ? communicator.group(orAny(() => [draw(), draw()]) as CommunicatorCall[]) : communicator.call(...draw()));
      accepted++;
    } catch (error) {
      if (!(error instanceof TypeError || (error instanceof RangeError && 'code' in error))) throw error;
    }
  }
  t.ok(accepted > 400, `${accepted} were accepted`);
  const sum = Float32Array.of(1, 2);
  await communicator.call(ALL_REDUCE, 0, sum, sum, 2);
  t.strictSame([...sum], [1, 2]);
  communicator.close();
});

t.test('a getter in a list of calls cannot take away what an earlier call uses', async (t) => {
  const communicator = await Communicator.open(`test-${process.pid}-getter`, 0, 1, 10_000);
  const taken = new Float32Array(1000);
  const second = [ALL_REDUCE, 0, null, null, 0];
  Object.defineProperty(second, 1, { get: () => (structuredClone(taken, { transfer: [taken.buffer] }), 0) });
  t.throws(() => communicator.group([[ALL_REDUCE, 0, taken, taken, 1000], second as unknown as CommunicatorCall]), { name: 'RangeError', message: /needs a source/ });
  communicator.close();
});
