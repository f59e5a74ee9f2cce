/**
 * The submitting side of a process: everything between a call to `f.remote(…)` and its reference being settled. Pure: it hears of the
 * world through its methods and acts on it through OwnerPorts; `tick` is its clock. The same code runs in drivers, in workers and in the simulation.
 *
 * Life of a task: submit -> (waiting for arguments) -> queued -> sent on a line -> answered.
 */
import { makeError, ownerKey, type MusterError, type ProcessId } from '@muster/base';
import { ARGUMENTS_MAX, FLAGS_OFFSET, OwnerOp, TASK_HEADER_BYTES, TaskFlag, FRAME_TARGET_BYTES, writeComposite, writePrimitive, type Death, type Demand, type Endpoint, type HeadToClient } from '@muster/protocol';
import { ActorClients } from './actors.js';
import { ArgumentWaits } from './argument-waits.js';
import { Attempts } from './attempts.js';
import { Borrowing } from './borrowing.js';
import { Deaths } from './deaths.js';
import { Dispatcher } from './dispatcher.js';
import { FailureHistory } from './failures.js';
import { GangClients } from './gangs.js';
import { GroupClients } from './groups.js';
import { Lending } from './lending.js';
import type { Line } from './line.js';
import { Lines } from './lines.js';
import { ObjectTable } from './objects.js';
import type { OwnerPorts } from './ports.js';
import { attachWaiter, RefState, type EncodedValue, type Lineage, type ObjectRef, type RefHolder } from './reference.js';
import type { SlotQueue } from './slot-queue.js';
import { Segment, SlotState, SlotTable, type TaskTemplate } from './slots.js';
import { ResultStream } from './stream.js';
import { DurationEstimate, TaskSpec, type FunctionEntry, type TaskOptions } from './task-spec.js';

/** An argument in its encoded form. */
export interface EncodedArgument {
  readonly tag: number;
  readonly bytes: Uint8Array;
  /** References nested in it. */
  readonly contained: readonly ObjectRef[];
}

/** Encodes arguments. A value too large for a record is put into shared memory and comes back as a reference. */
export type ArgumentEncoder = (value: unknown) => EncodedArgument | ObjectRef;

export interface OwnerIdentity {
  readonly processId: ProcessId;
  endpoint: Endpoint;
  /** By the head's word: a node that is silent for so long is lost. */
  nodeTimeoutMs: number;
}

export class Owner implements RefHolder {
  readonly key: string;
  readonly slots = new SlotTable();
  readonly objects: ObjectTable;
  readonly dispatcher: Dispatcher;
  readonly actors: ActorClients;
  readonly gangs: GangClients;
  readonly groups: GroupClients;
  readonly attempts: Attempts;
  readonly arguments: ArgumentWaits;
  readonly failures = new FailureHistory();
  /** Of generator tasks, by the reference that stands for their end. */
  readonly streams = new Map<ObjectRef, ResultStream>();
  readonly lines: Lines;
  readonly lending: Lending;
  readonly borrowing: Borrowing;
  readonly deaths: Deaths;
  /** How long functions take, by their ids. The functions themselves live as long as somebody can call them or a task names them. */
  readonly #durations = new Map<number, DurationEstimate>();
  #functionCount = 0;
  readonly #dirty: SlotQueue[] = [];
  #segment = new Segment();
  #flushScheduled = false;
  #isNeeded = false;
  #watchesClock = false;

  constructor(readonly self: OwnerIdentity, readonly ports: OwnerPorts, readonly encodeArgument: ArgumentEncoder) {
    this.key = ownerKey(self.processId);
    this.objects = new ObjectTable(this);
    this.dispatcher = new Dispatcher(this);
    this.actors = new ActorClients(this);
    this.gangs = new GangClients(this);
    this.groups = new GroupClients(this);
    this.attempts = new Attempts(this);
    this.arguments = new ArgumentWaits(this);
    this.lines = new Lines(this);
    this.lending = new Lending(this);
    this.borrowing = new Borrowing(this);
    this.deaths = new Deaths(this);
  }

  // ---------------------------------------------------------------- submission

  defineFunction(name: string, bytes: Uint8Array): FunctionEntry {
    const entry: FunctionEntry = { id: this.#functionCount++, name, bytes, duration: new DurationEstimate() };
    this.#durations.set(entry.id, entry.duration);
    return entry;
  }

  /** A function was collected: nobody can call it any more, and no task is left that names it. */
  forgetFunction(id: number, captured: readonly ObjectRef[]): void {
    this.#durations.delete(id);
    this.objects.sentRefs(captured);
  }

  taskSpec(fn: FunctionEntry, demand: Demand, options: TaskOptions): TaskSpec {
    return new TaskSpec(this.dispatcher.queueFor(demand), fn, fn.id, options);
  }

  /** Queues a task or call. Encodes its arguments at once. @throws what encoding an argument throws */
  submit(spec: TaskSpec, args: readonly unknown[]): ObjectRef {
    if (args.length > ARGUMENTS_MAX) throw makeError('INVALID_ARGUMENT', { what: `a call with ${args.length} arguments`, want: `a call with at most ${ARGUMENTS_MAX}; pass an array` });
    if (this.#segment.position >= FRAME_TARGET_BYTES) this.#segment = new Segment();
    const segment = this.#segment;
    const at = segment.position;
    segment.reserve(64);
    segment.position = at + TASK_HEADER_BYTES;
    try {
      for (let i = 0; i < args.length; i++) {
        if (writePrimitive(segment, args[i])) continue;
        const encoded = this.encodeArgument(args[i]);
        if (!('tag' in encoded) || encoded.contained.length > 0) return this.#submitTemplate(spec, args, i, encoded, segment.takeBack(at));
        writeComposite(segment, encoded.tag, encoded.bytes);
      }
    } catch (error) {
      segment.position = at;
      throw error;
    }
    const ref = this.objects.create();
    this.watchClock();
    const slot = this.slots.allocate(ref, spec, SlotState.queued);
    ref.value = slot;
    const view = segment.view;
    view.setUint32(at, segment.position - at - 4, true);
    segment.buffer[at + 4] = spec.fn === null ? OwnerOp.call : OwnerOp.task;
    view.setUint32(at + 5, slot, true);
    view.setUint32(at + 9, spec.target, true);
    segment.buffer[at + FLAGS_OFFSET] = spec.options.streaming ? TaskFlag.streaming : 0;
    view.setUint16(at + 14, args.length, true);
    view.setFloat64(at + 16, ref.sequence, true);
    segment.liveCount++;
    this.slots.segments[slot] = segment;
    this.slots.offsets[slot] = at;
    if (spec.options.streaming) this.#openStream(ref);
    spec.queue.ring.push(slot);
    if (!spec.queue.dirty) this.markDirty(spec.queue);
    return ref;
  }

  /** The slow path: some argument is a reference, or holds one. `done` are the arguments before `index`, encoded. */
  #submitTemplate(spec: TaskSpec, args: readonly unknown[], index: number, first: EncodedArgument | ObjectRef, done: Uint8Array): ObjectRef {
    const parts: (Uint8Array | ObjectRef)[] = done.length > 0 ? [done] : [];
    const held: ObjectRef[] = [];
    const writer = new Segment();
    for (let i = index; i < args.length; i++) {
      writer.position = 0;
      const encoded = i === index ? first : writePrimitive(writer, args[i]) ? null : this.encodeArgument(args[i]);
      if (encoded !== null && !('tag' in encoded)) {
        parts.push(encoded);
        continue;
      }
      if (encoded !== null) {
        writeComposite(writer, encoded.tag, encoded.bytes);
        held.push(...encoded.contained);
      }
      parts.push(Buffer.from(writer.buffer.subarray(0, writer.position)));
    }
    const ref = this.objects.create();
    this.#enqueueTemplate(ref, spec, { argumentCount: args.length, parts, held, passed: [] });
    if (spec.options.streaming) this.#openStream(ref);
    return ref;
  }

  /** Runs a finished task again for its lost result. */
  resubmit(ref: ObjectRef, lineage: Lineage): void {
    this.#enqueueTemplate(ref, lineage.spec, lineage.template, lineage.spec.options.retries - lineage.attemptsLeft);
  }

  #enqueueTemplate(ref: ObjectRef, spec: TaskSpec, template: TaskTemplate, attempt = 0): void {
    this.watchClock();
    const slot = this.slots.allocate(ref, spec, SlotState.waiting);
    this.slots.attempts[slot] = attempt;
    ref.value = slot;
    this.slots.templates.set(slot, template);
    this.objects.sendingRefs(template.held);
    if (spec.fn === null) spec.queue.ring.push(slot); // calls keep their order, also while the first one waits
    this.arguments.wait(slot);
  }

  /** The record's argument bytes as a template of its own, for lineage. */
  plainTemplate(slot: number): TaskTemplate {
    const segment = this.slots.segments[slot]!;
    const at = this.slots.offsets[slot]!;
    const end = at + 4 + segment.view.getUint32(at, true);
    return { argumentCount: segment.view.getUint16(at + 14, true), parts: [Buffer.from(segment.buffer.subarray(at + TASK_HEADER_BYTES, end))], held: [], passed: [] };
  }

  #openStream(end: ObjectRef): void {
    const stream = new ResultStream(end, (count) => {
      const slot = end.state === RefState.pending ? (end.value as number) : -1;
      const line = slot >= 0 && this.slots.states[slot] === SlotState.sent ? this.lines.of(slot) : undefined;
      line?.sendCredit(slot, count);
    });
    this.streams.set(end, stream);
    attachWaiter(end, { settled: () => this.streams.delete(end) });
  }

  // ---------------------------------------------------------------- flow

  markDirty(queue: SlotQueue): void {
    if (queue.dirty) return;
    queue.dirty = true;
    this.#dirty.push(queue);
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    this.ports.defer(this.#flush);
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false;
    const nowMs = this.ports.nowMs();
    for (const queue of this.#dirty.splice(0)) {
      queue.dirty = false;
      queue.pump(nowMs);
    }
  };

  observe(functionId: number, count: number, busyUs: number): void {
    if (count > 0) this.#durations.get(functionId)?.observe(count, busyUs);
  }

  lineBlocked(line: Line, blocked: boolean): void {
    line.blocked = blocked;
    this.markDirty(line.queue);
  }

  // ---------------------------------------------------------------- ends of tasks

  /** The worker has said its last word on the slot. */
  answered(line: Line, slot: number): void {
    line.answeredCount++;
    this.lines.leave(line, slot);
    this.releaseSlot(slot);
  }

  releaseSlot(slot: number): void {
    if (this.slots.segments[slot] === undefined) {
      const template = this.slots.templates.get(slot)!;
      this.objects.sentRefs(template.held);
      this.objects.sentRefs(template.passed);
      template.passed = [];
    }
    this.actors.callEnded(this.slots.specs[slot]!);
    this.slots.release(slot);
  }

  /** Fails a task that is not on a line. */
  fail(slot: number, error: MusterError | EncodedValue): void {
    const ref = this.slots.refs[slot]!;
    const inRing = this.slots.states[slot] === SlotState.queued || this.slots.specs[slot]!.fn === null && this.slots.states[slot] === SlotState.waiting;
    this.#remember(slot, error);
    if (inRing) {
      this.slots.states[slot] = SlotState.abandoned;
      this.markDirty(this.slots.specs[slot]!.queue); // to be taken out, before those behind it that may wait for nothing else
    } else this.releaseSlot(slot);
    this.objects.settle(ref, { kind: 'failed', error });
  }

  /** Runs a task once more while its present attempt is still to be ended: under a new slot. */
  restart(slot: number): void {
    const ref = this.slots.refs[slot]!;
    const spec = this.slots.specs[slot]!;
    const attempt = this.slots.attempts[slot]! + 1;
    const known = this.slots.templates.get(slot);
    const template = known ? { ...known, passed: [] } : this.plainTemplate(slot);
    this.slots.refs[slot] = this.objects.create(); // nobody waits for the old attempt
    this.slots.states[slot] = SlotState.abandoned;
    const stream = this.streams.get(ref);
    this.#enqueueTemplate(ref, spec, template, attempt);
    if (stream) this.streams.set(ref, stream);
  }

  /** Fails a task that was taken out of its ring. */
  failTaken(slot: number, error: MusterError | EncodedValue): void {
    this.arguments.drop(slot);
    const wanted = this.slots.states[slot] !== SlotState.abandoned;
    const ref = this.slots.refs[slot]!;
    if (wanted) this.#remember(slot, error);
    this.releaseSlot(slot);
    if (wanted) this.objects.settle(ref, { kind: 'failed', error });
  }

  /** Fails a task that its worker has answered. */
  failAnswered(line: Line, slot: number, error: MusterError | EncodedValue): void {
    const ref = this.slots.refs[slot]!;
    this.#remember(slot, error);
    this.answered(line, slot);
    this.objects.settle(ref, { kind: 'failed', error });
  }

  /** Settles the reference of a task that still runs; the slot stays until the worker's last word. */
  abandon(slot: number, error: MusterError): void {
    const ref = this.slots.refs[slot]!;
    this.#remember(slot, error);
    this.slots.states[slot] = SlotState.abandoned;
    this.objects.settle(ref, { kind: 'failed', error });
  }

  #remember(slot: number, error: MusterError | EncodedValue): void {
    this.failures.add(this.slots.refs[slot]!.sequence, this.slots.specs[slot]!.options.name, this.slots.attempts[slot]! + 1, error);
  }

  /** Puts a task back, in front of all others. */
  requeue(slot: number): void {
    this.slots.states[slot] = SlotState.queued;
    const { queue } = this.slots.specs[slot]!;
    const template = this.slots.templates.get(slot);
    queue.ring.unshift(slot);
    if (template && template.parts.some((part) => !(part instanceof Uint8Array) && part.state === RefState.pending)) {
      queue.ring.shift();
      this.slots.states[slot] = SlotState.waiting;
      if (this.slots.specs[slot]!.fn === null) queue.ring.unshift(slot);
      this.arguments.wait(slot);
    }
    this.markDirty(queue);
  }

  /** The worker gives back a task that it has not started. */
  returned(slot: number): void {
    this.lines.leave(this.lines.of(slot)!, slot);
    if (this.slots.states[slot] === SlotState.abandoned) this.releaseSlot(slot);
    else this.requeue(slot);
  }

  /** The worker could not read an argument; the task has not started. */
  lostInput(slot: number, storageId: string): void {
    const line = this.lines.of(slot)!;
    line.answeredCount++;
    this.lines.leave(line, slot);
    if (this.slots.states[slot] === SlotState.abandoned) return this.releaseSlot(slot);
    for (const part of this.slots.templates.get(slot)?.parts ?? []) {
      if (part instanceof Uint8Array || part.state !== RefState.stored) continue;
      const stored = part.value as { storageId: string; locations: readonly Endpoint[] };
      if (stored.storageId === storageId) this.objects.lost(part, stored.locations.map((at) => at.nodeId));
    }
    const failed = this.slots.templates.get(slot)?.parts.find((part): part is ObjectRef => !(part instanceof Uint8Array) && part.state === RefState.failed);
    if (failed) this.failTaken(slot, failed.value as MusterError | EncodedValue);
    else this.requeue(slot);
  }

  /** Cancels the task behind a reference. A task that runs hears of it through its AbortSignal, or with `force` its worker is ended. */
  cancel(ref: ObjectRef, options: { readonly force: boolean; readonly graceMs?: number | undefined; readonly reason?: string }): void {
    if (ref.state !== RefState.pending || ref.detail?.foreign || typeof ref.value !== 'number' || ref.value < 0) return;
    const slot = ref.value;
    const spec = this.slots.specs[slot]!;
    const isSent = this.slots.states[slot] === SlotState.sent;
    this.discard(slot, makeError('TASK_CANCELLED', { what: `the task ${spec.options.name}`, why: options.reason ? ` (${options.reason})` : '' }));
    if (isSent) this.attempts.abort(slot, options);
  }

  /** Nobody wants the result: the task is forgotten if it has not been sent, and its answer is when it comes. */
  discard(slot: number, error: MusterError): void {
    this.arguments.drop(slot);
    const state = this.slots.states[slot];
    if (state === SlotState.sent || state === SlotState.delayed) return this.abandon(slot, error); // released when the answer is there, or the pause over
    this.fail(slot, error);
  }

  // ---------------------------------------------------------------- the head's messages, and time

  fromHead(message: HeadToClient): void {
    switch (message.type) {
      case 'leaseGranted': return this.dispatcher.granted(message);
      case 'leaseLost': return this.dispatcher.lost(message.leaseId, message.cause);
      case 'leaseReclaim': return this.dispatcher.reclaimed(message.leaseId);
      case 'demandStatus': return this.#demandStatus(message.demandId, message.infeasible, message.reasons);
      case 'actorState': return this.actors.onState(message);
      case 'gangState': return this.gangs.onState(message);
      case 'groupState': return this.groups.onState(message);
      case 'nodeDied': return this.#nodeDied(message.nodeId);
      case 'processDied': return this.#processDied(message.processId, message.cause);
      default: return; // for the session
    }
  }

  #nodeDied(nodeId: string): void {
    this.objects.nodeDied(nodeId);
    this.lending.nodeDied(nodeId);
    this.borrowing.nodeDied(nodeId);
  }

  #processDied(processId: string, cause: Death | null): void {
    this.lending.processDied(processId);
    this.borrowing.processDied(processId, cause);
    this.deaths.processDied(processId, cause);
  }

  #demandStatus(demandId: number, infeasible: boolean, reasons: string): void {
    const queue = this.dispatcher.queue(demandId);
    if (!queue) return;
    queue.waitReasons = reasons;
    queue.isInfeasible = infeasible;
    this.markDirty(queue);
  }

  /** The connection to the cluster is gone: nothing that is pending will ever settle by itself. */
  disconnected(error: MusterError): void {
    this.lines.closeAll();
    this.borrowing.close(error);
    for (const queue of this.dispatcher.queues) queue.ring.drain();
    this.actors.disconnected(error);
    this.gangs.disconnected(error);
    this.groups.disconnected(error);
    for (let slot = 0; slot < this.slots.length; slot++) {
      const state = this.slots.states[slot];
      const ref = this.slots.refs[slot];
      if (state === SlotState.free || !ref) continue;
      this.slots.states[slot] = SlotState.abandoned;
      if (state !== SlotState.abandoned) this.objects.settle(ref, { kind: 'failed', error });
    }
  }

  /** There is something that time brings on, or may be: the next ticks find out. An idle process has none, and costs its machine nothing. */
  watchClock(): void {
    if (this.#watchesClock) return;
    this.#watchesClock = true;
    this.ports.startTicks();
  }

  /** @returns whether to tick again */
  tick(nowMs: number): boolean {
    this.attempts.tick(nowMs);
    this.lines.tick(nowMs);
    this.lending.tick(nowMs);
    this.borrowing.tick(nowMs);
    for (const queue of this.dispatcher.queues) {
      this.dispatcher.takeBackOverruns(queue, nowMs);
      this.dispatcher.settleIdle(queue, nowMs);
    }
    this.#sayWhetherNeeded(); // last: what has just ended may have been all
    this.#watchesClock = this.slots.usedCount > 0 || this.dispatcher.hasLeases || this.lines.haveBroken || this.lending.awaitsBorrowers || this.borrowing.awaitsLenders;
    return this.#watchesClock;
  }

  /** Others hold what this process owns, or it has work under way, or actors or placement groups: an idle worker may not be ended for want of work. */
  #sayWhetherNeeded(): void {
    const isNeeded = this.objects.exportedCount > 0 || this.slots.usedCount > 0 || this.actors.ownCount > 0 || this.groups.ownCount > 0;
    if (isNeeded === this.#isNeeded) return;
    this.#isNeeded = isNeeded;
    this.ports.needed(isNeeded);
  }
}
