/** Whom a worker serves, without its processes. */
import t from 'tap';
import { type MusterError } from '@muster/base';
import { FrameWriter, framePayload, OwnerOp, type MessageStream } from '@muster/protocol';
import { Admission } from './admission.js';
import type { CallerLine } from './caller-line.js';

/** What a stream of a caller came to. */
class Caller implements MessageStream<Uint8Array, Uint8Array> {
  refusal: MusterError | undefined;
  onMessage = (_frame: Uint8Array): void => {};
  onEnd = (_failure?: MusterError): void => {};
  onDrain = (): void => {};
  send = (): boolean => true;
  end = (): void => this.onEnd();
  destroy = (failure?: MusterError): void => {
    this.refusal = failure;
    this.onEnd(failure);
  };
}

class World {
  leaseId = '';
  /** Says that all that the daemon has said was heard, or that the daemon is gone. */
  heard = (): void => {};
  lost = (): void => {};
  readonly received: Uint8Array[] = [];
  readonly lines = new Set<CallerLine>();
  readonly admission = new Admission({
    actor: null, addLine: (line) => void this.lines.add(line), removeLine: (line) => void this.lines.delete(line), receive: (_line, payload) => void this.received.push(payload),
  }, { workerId: 'worker-1', leaseId: () => this.leaseId, whenHeardDaemon: (heard, lost) => void Object.assign(this, { heard, lost }) });

  open(metadata: Record<string, string>): Caller {
    const caller = new Caller();
    this.admission.serve(caller, (key) => metadata[key] ?? '');
    return caller;
  }
}

const writer = new FrameWriter();
writer.endRecord(writer.beginRecord(OwnerOp.takeBack));
const TAKE_BACK = writer.take();

t.test('a stream ahead of the daemon\'s word is served when that has come', async (t) => {
  const world = new World();
  const caller = world.open({ 'lease-id': 'lease-1' });
  caller.onMessage(TAKE_BACK);
  t.equal(world.received.length, 0);
  world.leaseId = 'lease-1';
  world.heard();
  t.same(world.received, [framePayload(TAKE_BACK)]);
  t.equal(caller.refusal, undefined);
});

t.test('who has no lease is refused as soon as the daemon has nothing more to say', async (t) => {
  for (const end of ['heard', 'lost'] as const) {
    const world = new World();
    world.leaseId = 'lease-2';
    const caller = world.open({ 'lease-id': 'lease-1' });
    t.equal(caller.refusal, undefined);
    world[end]();
    t.match(caller.refusal, { code: 'PROTOCOL', message: /no lease on worker-1/ });
    caller.onMessage(TAKE_BACK);
    t.equal(world.received.length, 0);
  }
});

t.test('who calls an actor that does not live here is refused at once', async (t) => {
  t.match(new World().open({ 'actor-id': 'actor-1' }).refusal, { code: 'PROTOCOL' });
  t.match(new World().open({}).refusal, { code: 'PROTOCOL' });
});

t.test('with its lease ends the service of a caller', async (t) => {
  const world = new World();
  world.leaseId = 'lease-1';
  const caller = world.open({ 'lease-id': 'lease-1' });
  t.equal(world.lines.size, 1);
  world.leaseId = '';
  world.admission.leaseChanged();
  t.match(caller.refusal, { code: 'PROTOCOL', message: /lease has ended/ });
  t.equal(world.lines.size, 0);
});

t.test('who sends what nobody can read is told so, and served no longer', async (t) => {
  const world = new World();
  world.leaseId = 'lease-1';
  const caller = world.open({ 'lease-id': 'lease-1' });
  world.admission.end([...world.lines][0]!, new RangeError('a length of 2 GB'));
  t.match(caller.refusal, { code: 'PROTOCOL', message: /a length of 2 GB/ });
  t.equal(world.lines.size, 0);
});
