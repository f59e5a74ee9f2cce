/**
 * Records on a Peer.Tasks stream, and the frames that carry them. A frame is the protobuf message `Frame { bytes payload = 1; }`
 * written by hand (larger ones in parts, see parts.ts); its payload is records end to end. Each record starts with `u32 length` of what follows, so that an owner
 * can queue, cut and resend encoded records without looking inside.
 *
 * Order: a worker starts the tasks of a stream in the order of their records. `slot` is the owner's number for a task in flight; it is
 * not used again before the worker's final record for it (result, error, returned) or the stream's end.
 *
 *   owner -> worker
 *     define    u8 op, u32 function, text name, block bytes            before the first task that names the function
 *     task      u8 op, u32 slot, u32 function, u8 flags, u16 argc, f64 sequence, values
 *     call      u8 op, u32 slot, u32 method, u8 flags, u16 argc, f64 sequence, values     to an actor; `method` is an index into its interface
 *     cancel    u8 op, u32 slot                                        abort its signal if it runs, drop it if it does not
 *     takeBack  u8 op                                                  return every task that has not started
 *     credit    u8 op, u32 slot, u32 count                             a generator may run this many values further
 *     held      u8 op, u32 slot, u32 index                             the references in this task's result, or its value of this index, are counted: let go of them
 *   worker -> owner
 *     result    u8 op, u32 slot, value                                 may be a stored composite
 *     error     u8 op, u32 slot, value
 *     returned  u8 op, u32 slot                                        not started; another worker may run it
 *     yielded   u8 op, u32 slot, u32 index, value
 *     ended     u8 op, u32 slot, u32 count                             a generator's end
 *     stats     u8 op, u32 function, u32 count, u32 busyUs             how long the tasks just answered took
 *     blocked   u8 op, u8 blocked                                      the running task waits for others, or goes on
 *     lostInput u8 op, u32 slot, text objectId                         an argument could not be read from its locations; not started
 */
import { makeError } from '@muster/base';
import { ByteWriter } from './bytes.js';

export const OwnerOp = { define: 1, task: 2, call: 3, cancel: 4, takeBack: 5, credit: 6, held: 7 } as const;
export const WorkerOp = { result: 1, error: 2, returned: 3, yielded: 4, ended: 5, stats: 6, blocked: 7, lostInput: 8 } as const;

/** Flags of task and call records; the attempt, from 0, stands in the bits above them. */
export const TaskFlag = {
  /** The function is a generator; answer with yielded and ended. */
  streaming: 1,
} as const;
export const ATTEMPT_SHIFT = 1;
/** Where the flags lie in a task record. */
export const FLAGS_OFFSET = 13;

/** Field 1, length-delimited. */
const PAYLOAD_TAG = 0x0a;
/** Bytes left free at the front of a frame for its protobuf header. */
export const FRAME_HEADER_BYTES = 6;
/** Frames are cut at about this size: large enough to amortise a write, small enough to keep a pipeline full. */
export const FRAME_TARGET_BYTES = 64 * 1024;
/** A frame of up to this size is copied out of its writer, which costs less than a new buffer; a process may have thousands of writers. */
const SMALL_FRAME_BYTES = 2048;
/** Room for a full frame and the record that filled it. */
const FULL_FRAME_BYTES = FRAME_TARGET_BYTES + 8192;
/** A task record's bytes before its values: length, op, slot, function, flags, argc, sequence. */
export const TASK_HEADER_BYTES = 24;
/** A task has at most this many arguments; more belong into an array. */
export const ARGUMENTS_MAX = 65_535;

/** Collects records into frames. */
export class FrameWriter extends ByteWriter {
  constructor() {
    super(SMALL_FRAME_BYTES, FRAME_HEADER_BYTES, FULL_FRAME_BYTES);
  }

  get isEmpty(): boolean {
    return this.position === FRAME_HEADER_BYTES;
  }

  /** The finished frame, which the caller owns; the writer starts a new one. */
  take(): Buffer {
    const payloadBytes = this.position - FRAME_HEADER_BYTES;
    const buffer = this.buffer;
    writeFrameHeader(buffer, PAYLOAD_TAG, payloadBytes);
    const view = buffer.subarray(0, this.position);
    this.position = FRAME_HEADER_BYTES;
    if (view.length <= SMALL_FRAME_BYTES) return Buffer.from(view);
    this.buffer = Buffer.allocUnsafeSlow(FULL_FRAME_BYTES);
    this.view = new DataView(this.buffer.buffer);
    return view;
  }

  /** Starts a record and returns its place for {@link endRecord}. */
  beginRecord(op: number): number {
    this.reserve(64);
    const at = this.position;
    this.buffer[at + 4] = op;
    this.position = at + 5;
    return at;
  }

  endRecord(at: number): void {
    this.view.setUint32(at, this.position - at - 4, true);
  }
}

/** The protobuf header of a length-delimited field: its tag, and the length as a varint padded to five bytes. */
export function writeFrameHeader(buffer: Uint8Array, tag: number, sizeBytes: number): void {
  buffer[0] = tag;
  buffer[1] = (sizeBytes & 127) | 128;
  buffer[2] = ((sizeBytes >>> 7) & 127) | 128;
  buffer[3] = ((sizeBytes >>> 14) & 127) | 128;
  buffer[4] = ((sizeBytes >>> 21) & 127) | 128;
  buffer[5] = (sizeBytes >>> 28) & 15;
}

/** The payload of a frame, as a view. @throws MusterError PROTOCOL */
export function framePayload(frame: Uint8Array, tag: number = PAYLOAD_TAG): Uint8Array {
  let at = 1;
  let sizeBytes = 0;
  if (frame[0] === tag) {
    for (let shift = 0; at < frame.length && shift < 35; shift += 7) {
      const byte = frame[at++]!;
      sizeBytes += (byte & 127) * 2 ** shift;
      if (byte < 128 && sizeBytes === frame.length - at) return frame.subarray(at);
      if (byte < 128) break;
    }
  }
  throw makeError('PROTOCOL', { what: 'a peer', cause: 'not a task frame' });
}
