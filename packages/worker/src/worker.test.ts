/** A worker's parts without its processes: whom it serves, and what becomes of the rest when a task or a caller ends early. */
import t from 'tap';
import type { MusterError } from '@muster/base';
import type { ObjectRef, Session } from '@muster/core/internal';
import { FrameWriter, framePayload, OwnerOp, type MessageStream } from '@muster/protocol';
import { Admission } from './admission.js';
import { CallerLine } from './caller-line.js';
import { Executor } from './executor.js';
import { Running } from './running.js';

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
  heard!: () => void;
  readonly heardDaemon = new Promise<void>((resolve) => { this.heard = resolve; });
  readonly received: Uint8Array[] = [];
  readonly lines = new Set<CallerLine>();
  readonly admission = new Admission({
    actor: null, addLine: (line) => void this.lines.add(line), removeLine: (line) => void this.lines.delete(line), receive: (_line, payload) => void this.received.push(payload),
  }, { workerId: 'worker-1', leaseId: () => this.leaseId, heardDaemon: () => this.heardDaemon });

  open(metadata: Record<string, string>): Caller {
    const caller = new Caller();
    this.admission.serve(caller, (key) => metadata[key] ?? '');
    return caller;
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
function frame(write: (writer: FrameWriter) => void): Uint8Array {
  const writer = new FrameWriter();
  write(writer);
  return writer.take();
}
const TAKE_BACK = frame((writer) => writer.endRecord(writer.beginRecord(OwnerOp.takeBack)));

t.test('a stream ahead of the daemon\'s word is served when that has come', async (t) => {
  const world = new World();
  const caller = world.open({ 'lease-id': 'lease-1' });
  caller.onMessage(TAKE_BACK);
  t.equal(world.received.length, 0);
  world.leaseId = 'lease-1';
  world.heard();
  await turn();
  t.same(world.received, [framePayload(TAKE_BACK)]);
  t.equal(caller.refusal, undefined);
});

t.test('who has no lease is refused as soon as the daemon has nothing more to say', async (t) => {
  const world = new World();
  world.leaseId = 'lease-2';
  const caller = world.open({ 'lease-id': 'lease-1' });
  t.equal(caller.refusal, undefined);
  world.heard();
  await turn();
  t.match(caller.refusal, { code: 'PROTOCOL', message: /no lease on worker-1/ });
  caller.onMessage(TAKE_BACK);
  t.equal(world.received.length, 0);
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

t.test('a task that is submitted by a cancelled one is cancelled, too', async (t) => {
  const cancelled: unknown[] = [];
  const session = { owner: { cancel: (ref: unknown) => cancelled.push(ref) } } as unknown as Session;
  const running = new Running(new CallerLine('driver-1', 'lease-1', () => {}), 0, 1, 0, 'parent', 0);
  const [before, after] = [{ state: 0 }, { state: 0 }] as unknown as [ObjectRef, ObjectRef];
  running.adopt(before, session);
  running.cancel(session);
  running.adopt(after, session);
  t.same(cancelled, [before, after]);
});

t.test('the references in a result whose caller has gone are not held', async (t) => {
  const ref = { id: 'obj-1-1', detail: null };
  let heldCount = 0;
  const count = (by: number) => (refs: readonly unknown[]): void => { heldCount += by * refs.length; };
  let resolve!: (value: unknown) => void;
  const result = new Promise((settle) => { resolve = settle; });
  const session = {
    waits: { count: 0, onChange: () => {} }, adoptChild: () => {}, uncounted: () => undefined, decode: async () => () => result,
    owner: { self: { processId: 'worker-1', endpoint: { nodeId: '', unixPath: '', host: '', port: 0 } }, objects: { sendingRefs: count(1), sentRefs: count(-1) }, ports: { toHead: () => {} } },
    serializer: { serialize: () => ({ tag: 0, head: new Uint8Array(1), buffers: [], contained: [ref] }) },
  } as unknown as Session;
  const executor = new Executor(session);
  const line = new CallerLine('driver-1', 'lease-1', () => {});
  executor.addLine(line);
  executor.receive(line, framePayload(frame((writer) => {
    const define = writer.beginRecord(OwnerOp.define);
    writer.u32(0);
    writer.text('late');
    writer.block(Buffer.of(0));
    writer.endRecord(define);
    const task = writer.beginRecord(OwnerOp.task);
    writer.u32(0);
    writer.u32(0);
    writer.u8(0);
    writer.u16(0);
    writer.f64(1);
    writer.endRecord(task);
  })));
  await turn();
  executor.removeLine(line);
  resolve({});
  while (!executor.isIdle) await turn();
  t.equal(heldCount, 0);
});
