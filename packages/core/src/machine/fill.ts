/** Moves tasks from a queue onto a line. Encoded records that lie side by side are copied in one piece. */
import { ATTEMPT_SHIFT, FLAGS_OFFSET, FRAME_TARGET_BYTES, OwnerOp, TaskFlag } from '@muster/protocol';
import type { Line } from './line.js';
import type { Owner } from './owner.js';
import { SlotState, type Segment } from './slots.js';
import type { TaskSpec } from './task-spec.js';

/** Sends up to `limit` tasks from the front of the line's queue, as far as the line takes them. Returns how many. Does not flush. */
export function fillLine(owner: Owner, line: Line, limit: number, nowMs: number): number {
  return isFullFor(owner, line) ? 0 : fill(owner, line, limit, nowMs); // of a thousand lines most are full, at every turn: nothing is made for them
}

function fill(owner: Owner, line: Line, limit: number, nowMs: number): number {
  const { ring } = line.queue;
  const slots = owner.slots;
  let sentCount = 0;
  let run: Segment | undefined;
  let runStart = 0;
  let runEnd = 0;
  const endRun = (): void => {
    if (run === undefined) return;
    line.writer.bytes(run.buffer.subarray(runStart, runEnd));
    run = undefined;
  };
  while (ring.length > 0 && sentCount < limit && !line.congested) {
    const slot = ring.peek();
    if (slots.states[slot] === SlotState.abandoned) { // cancelled while it was queued
      ring.shift();
      owner.releaseSlot(slot);
      continue;
    }
    if (slots.states[slot] === SlotState.waiting) break; // an actor's calls keep their order: the first one waits for an argument
    const spec = slots.specs[slot]!;
    if (slots.segments[slot] === undefined && !owner.arguments.areReady(slot)) {
      if (spec.fn === null) break;
      continue;
    }
    if (spec.fn !== null) {
      if (!line.accepts(spec, slots.attempts[slot]!)) break;
      if (!line.isDefined(spec.fn.id)) endRun();
      line.define(spec.fn);
      if (spec.fn.duration.ahead === 1) {
        slots.heavy[slot] = 1;
        line.heavyCount++;
      }
      if (slots.attempts[slot]! > 0 || spec.options.timeoutMs > 0) line.exclusive = true;
    } else if (line.outstanding >= CALLS_IN_FLIGHT_MAX) break;
    ring.shift();
    const segment = slots.segments[slot];
    if (segment === undefined) {
      endRun();
      writeTemplate(owner, line, slot);
    } else {
      const start = slots.offsets[slot]!;
      const end = start + 4 + segment.view.getUint32(start, true);
      if (slots.attempts[slot]! > 0) segment.buffer[start + FLAGS_OFFSET] = flagsOf(spec, slots.attempts[slot]!);
      if (run !== segment || runEnd !== start) {
        endRun();
        run = segment;
        runStart = start;
      }
      runEnd = end;
    }
    slots.states[slot] = SlotState.sent;
    slots.lines[slot] = line.number;
    slots.order[slot] = ++line.sentCount;
    if (line.outstanding++ === 0) line.lastHeardMs = nowMs;
    sentCount++;
    if (spec.options.timeoutMs > 0) owner.attempts.startDeadline(slot, spec.options.timeoutMs);
    if (line.writer.position + (runEnd - runStart) >= FRAME_TARGET_BYTES) {
      endRun();
      line.flush();
    }
  }
  endRun();
  return sentCount;
}

/** Whether the line has no room for the next task of its queue. */
function isFullFor({ slots }: Owner, line: Line): boolean {
  const slot = line.queue.ring.peek();
  const spec = slots.specs[slot];
  return slots.states[slot] === SlotState.queued && spec!.fn !== null && !line.accepts(spec!, slots.attempts[slot]!);
}

/** Calls in flight to one actor: enough to hide any round trip; the rest queue here, encoded. */
const CALLS_IN_FLIGHT_MAX = 8192;

function flagsOf(spec: TaskSpec, attempt: number): number {
  return (spec.options.streaming ? TaskFlag.streaming : 0) | (attempt << ATTEMPT_SHIFT);
}

function writeTemplate(owner: Owner, line: Line, slot: number): void {
  const spec = owner.slots.specs[slot]!;
  const template = owner.slots.templates.get(slot)!;
  const writer = line.writer;
  const at = writer.beginRecord(spec.fn ? OwnerOp.task : OwnerOp.call);
  writer.u32(slot);
  writer.u32(spec.target);
  writer.u8(flagsOf(spec, owner.slots.attempts[slot]!));
  writer.u16(template.argumentCount);
  writer.f64(owner.slots.refs[slot]!.sequence);
  for (const part of template.parts) {
    if (part instanceof Uint8Array) writer.bytes(part);
    else owner.objects.writeReady(writer, part);
  }
  writer.endRecord(at);
}
