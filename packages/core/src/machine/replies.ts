/** Reads the frames that workers send, record by record. */
import { assert, makeError } from '@muster/base';
import { ByteReader, Composite, COMPOSITE, readPrimitive, WorkerOp, type ValueCursor } from '@muster/protocol';
import { decodeStored } from './descriptors.js';
import { containedIn } from './packed.js';
import type { Line } from './line.js';
import type { Owner } from './owner.js';
import type { Outcome } from './ports.js';
import { EncodedValue, RefState, StoredObject, type ObjectRef } from './reference.js';
import { SlotState } from './slots.js';
import { STREAM_WINDOW } from './stream.js';

/** A composite value, with the references in it. */
type ContainingOutcome = Outcome & { readonly contained: readonly ObjectRef[] };

export class ReplyReader implements ValueCursor {
  compositeTag = 0;
  compositeStart = 0;
  compositeEnd = 0;
  readonly #reader = new ByteReader();

  constructor(readonly owner: Owner) {}

  /** @throws MusterError PROTOCOL for a frame that no worker writes. */
  read(line: Line, payload: Uint8Array): void {
    const reader = this.#reader.reset(payload);
    while (reader.position < reader.end) {
      const recordEnd = reader.u32() + reader.position;
      const op = reader.u8();
      switch (op) {
        case WorkerOp.result: this.#result(line, reader.u32()); break;
        case WorkerOp.error: this.#error(line, reader.u32()); break;
        case WorkerOp.returned: this.owner.returned(this.#sentSlot(line, reader.u32())); break;
        case WorkerOp.yielded: this.#yielded(line, reader.u32(), reader.u32()); break;
        case WorkerOp.ended: this.#ended(line, reader.u32(), reader.u32()); break;
        case WorkerOp.stats: this.owner.observe(reader.u32(), reader.u32(), reader.u32()); break;
        case WorkerOp.blocked: this.owner.lineBlocked(line, reader.u8() === 1); break;
        case WorkerOp.lostInput: this.owner.lostInput(this.#sentSlot(line, reader.u32()), reader.text()); break;
        default: throw makeError('PROTOCOL', { what: `the worker ${line.target.workerId}`, cause: `unknown record ${op}` });
      }
      if (reader.position !== recordEnd) throw makeError('PROTOCOL', { what: `the worker ${line.target.workerId}`, cause: `record ${op} has the wrong length` });
    }
  }

  /** A slot that is under way on this line; anything else is a peer's mistake. */
  #sentSlot(line: Line, slot: number): number {
    const { slots } = this.owner;
    const state = slots.states[slot];
    if (slots.lines[slot] !== line.number || (state !== SlotState.sent && state !== SlotState.abandoned)) {
      throw makeError('PROTOCOL', { what: `the worker ${line.target.workerId}`, cause: `an answer for slot ${slot}, which it was not sent` });
    }
    return slot;
  }

  #result(line: Line, slot: number): void {
    this.#sentSlot(line, slot);
    const { slots, objects } = this.owner;
    const value = readPrimitive(this.#reader, this);
    const wanted = slots.states[slot] === SlotState.sent;
    if (value !== COMPOSITE) {
      const ref = slots.refs[slot]!;
      this.owner.answered(line, slot);
      if (!wanted) return;
      // The hot path, unrolled: a primitive needs no settle().
      ref.state = RefState.value;
      ref.value = value;
      if (ref.waiter !== null) objects.settle(ref, { kind: 'value', value });
      return;
    }
    const ref = slots.refs[slot]!;
    const template = slots.templates.get(slot);
    const { spec, attemptsLeft } = { spec: slots.specs[slot]!, attemptsLeft: slots.specs[slot]!.options.retries - slots.attempts[slot]! };
    if (wanted && this.compositeTag === Composite.stored && spec.fn) {
      objects.keepLineage(ref, { spec, template: template ?? this.owner.plainTemplate(slot), attemptsLeft });
    }
    const outcome = this.#composite(line, { slot, index: 0 }, () => this.#counted(line, slot));
    if (slots.lines[slot] === line.number) slots.states[slot] = SlotState.abandoned; // it only waits for the references in its result to be counted
    if (!wanted) this.#discard(outcome);
    else {
      if (outcome.kind === 'encoded' && outcome.contained.length > 0) (ref.detail ??= {}).contained = outcome.contained;
      objects.settle(ref, outcome);
    }
  }

  /** The references in a result are counted. That may come long after the frame: the line has room again, unless it has ended meanwhile. */
  #counted(line: Line, slot: number): void {
    if (this.owner.slots.lines[slot] !== line.number) return;
    this.owner.answered(line, slot);
    if (line.queue.ring.length > 0) this.owner.markDirty(line.queue);
  }

  /** The composite just read, copied out of the frame. Tells the worker when the references in it are counted, then calls `counted`. */
  #composite(line: Line, { slot, index }: { readonly slot: number; readonly index: number }, counted: () => void): ContainingOutcome {
    const tag = this.compositeTag;
    const bytes = Buffer.from(this.#reader.buffer.subarray(this.compositeStart, this.compositeEnd));
    const descriptors = containedIn(tag, bytes);
    let uncounted = descriptors.length;
    const contained = descriptors.map((descriptor) => this.owner.objects.adopt(descriptor, () => {
      if (--uncounted > 0) return;
      line.sendHeld(slot, index);
      counted();
    }));
    if (descriptors.length === 0) counted();
    if (tag !== Composite.stored) return { kind: 'encoded', value: new EncodedValue(tag, bytes), contained };
    const { storageId, sizeBytes, locations } = decodeStored(bytes);
    return { kind: 'stored', stored: new StoredObject(storageId, sizeBytes, locations, contained), contained };
  }

  #discard(outcome: Outcome): void {
    if (outcome.kind === 'stored') this.owner.objects.discard(outcome.stored);
  }

  #error(line: Line, slot: number): void {
    this.#sentSlot(line, slot);
    const value = readPrimitive(this.#reader, this);
    assert(value === COMPOSITE, 'an error is a composite');
    const error = new EncodedValue(this.compositeTag, Buffer.from(this.#reader.buffer.subarray(this.compositeStart, this.compositeEnd)));
    this.#whenCounted(line, slot, () => this.#failed(line, slot, error));
  }

  #failed(line: Line, slot: number, error: EncodedValue): void {
    const { slots, ports } = this.owner;
    const spec = slots.specs[slot]!;
    if (slots.states[slot] !== SlotState.sent) return this.owner.answered(line, slot);
    const { retryOn, retries } = spec.options;
    if (retryOn === null || slots.attempts[slot]! >= retries) return this.owner.failAnswered(line, slot, error);
    line.answeredCount++;
    this.owner.lines.leave(line, slot);
    slots.states[slot] = SlotState.delayed; // holds the slot while users' code decides
    ports.judgeError(error, retryOn, (again) => {
      if (slots.states[slot] !== SlotState.delayed) return this.owner.releaseSlot(slot);
      if (!again || !this.owner.attempts.retry(slot, true)) this.owner.failTaken(slot, error);
    });
  }

  #yielded(line: Line, slot: number, index: number): void {
    this.#sentSlot(line, slot);
    const { slots, objects } = this.owner;
    const value = readPrimitive(this.#reader, this);
    const stream = this.owner.streams.get(slots.refs[slot]!);
    const item = value === COMPOSITE ? this.#yieldedComposite(line, slot, index) : ({ kind: 'value', value } as const);
    if (slots.states[slot] !== SlotState.sent || !stream || index < stream.receivedCount) {
      if (stream && (index + 1) % (STREAM_WINDOW / 2) === 0) line.sendCredit(slot, STREAM_WINDOW / 2); // nobody consumes what a retry repeats
      return this.#discard(item);
    }
    const ref = objects.create();
    if (item.kind === 'encoded' && item.contained.length > 0) (ref.detail ??= {}).contained = item.contained;
    objects.settle(ref, item);
    stream.receive(ref);
  }

  /** A value that may hold references: until they are counted its worker, which holds them, must not be given back. */
  #yieldedComposite(line: Line, slot: number, index: number): ContainingOutcome {
    let uncounted = line.uncounted.get(slot);
    if (!uncounted) line.uncounted.set(slot, (uncounted = { count: 0, onCounted: null }));
    uncounted.count++;
    return this.#composite(line, { slot, index }, () => {
      if (--uncounted.count > 0) return;
      line.uncounted.delete(slot);
      if (!uncounted.onCounted || this.owner.slots.lines[slot] !== line.number) return;
      uncounted.onCounted();
      if (line.queue.ring.length > 0) this.owner.markDirty(line.queue);
    });
  }

  /** Does what the last record of a task brings about, once the references in all that it has yielded are counted. */
  #whenCounted(line: Line, slot: number, end: () => void): void {
    const uncounted = line.uncounted.get(slot);
    if (uncounted) uncounted.onCounted = end;
    else end();
  }

  #ended(line: Line, slot: number, count: number): void {
    this.#sentSlot(line, slot);
    this.#whenCounted(line, slot, () => this.#exhausted(line, slot, count));
  }

  #exhausted(line: Line, slot: number, count: number): void {
    const ref = this.owner.slots.refs[slot]!;
    const wanted = this.owner.slots.states[slot] === SlotState.sent;
    this.owner.answered(line, slot);
    if (wanted) this.owner.objects.settle(ref, { kind: 'value', value: count });
  }
}
