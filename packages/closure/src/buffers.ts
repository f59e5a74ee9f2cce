/**
 * Writes ArrayBuffers and the views of them. Views that share a buffer share it again when they are revived, and of a buffer that is
 * met only through views, only the part that they cover travels: a batch of a large array is not the large array.
 */
import { types } from 'node:util';
import type { Node, NodeSlot, ViewNode } from './nodes.js';

/** Smaller buffers are cheaper inside of the message than beside it. */
const EXTERNAL_MIN_BYTES = 1024;
/** Keeps views aligned whose buffer loses its start: the largest element has 8 bytes. */
const ALIGNMENT_BYTES = 8;

interface CapturedBuffer {
  readonly buffer: ArrayBuffer;
  readonly slot: NodeSlot;
  startByte: number;
  endByte: number;
}

type Externalize = (buffer: ArrayBufferLike) => number | undefined;

export class BufferEncoder {
  readonly #externalize: Externalize | undefined;
  readonly #buffers = new Map<unknown, CapturedBuffer>();
  readonly #views: { readonly node: number; readonly view: ViewNode; readonly buffer: CapturedBuffer }[] = [];

  constructor(externalize: Externalize | undefined) {
    this.#externalize = externalize;
  }

  /** The slot of a buffer that so far was met through views; now all of it is wanted. */
  claim(value: object): NodeSlot | undefined {
    const captured = this.#buffers.get(value);
    if (captured) this.addWhole(captured.buffer, captured.slot);
    return captured?.slot;
  }

  addWhole(buffer: ArrayBuffer, slot: NodeSlot): void {
    this.#buffers.set(buffer, { buffer, slot, startByte: 0, endByte: buffer.byteLength });
  }

  /** The prototype is that of the view when it is not its type's own. */
  addView(view: ArrayBufferView<ArrayBuffer>, node: number, state: Pick<ViewNode, 'prototype'>, reserve: () => NodeSlot): void {
    const { buffer, byteOffset, byteLength } = view;
    let captured = this.#buffers.get(buffer);
    if (!captured) {
      const isResizable = (buffer as { readonly resizable?: boolean }).resizable === true;
      captured = { buffer, slot: reserve(), startByte: isResizable ? 0 : byteOffset, endByte: isResizable ? buffer.byteLength : byteOffset };
      this.#buffers.set(buffer, captured);
    }
    captured.startByte = Math.min(captured.startByte, byteOffset - (byteOffset % ALIGNMENT_BYTES));
    captured.endByte = Math.max(captured.endByte, byteOffset + byteLength);
    this.#views.push({
      node,
      buffer: captured,
      view: { kind: 'view', type: typeOf(view), buffer: captured.slot, byteOffset, length: types.isDataView(view) ? byteLength : (view as Uint8Array).length, ...state },
    });
  }

  /** The nodes of all buffers and views, once the part of each buffer is known. */
  *finish(): Generator<readonly [node: number, Node]> {
    for (const captured of this.#buffers.values()) yield [captured.slot[0], this.#write(captured)];
    for (const { node, view, buffer } of this.#views) {
      const { startByte } = this.#buffers.get(buffer.buffer) ?? buffer;
      yield [node, { ...view, byteOffset: view.byteOffset - startByte }];
    }
  }

  #write({ buffer, startByte, endByte }: CapturedBuffer): Node {
    const sizeBytes = endByte - startByte;
    const { resizable, maxByteLength } = buffer as { readonly resizable?: boolean; readonly maxByteLength?: number };
    if (this.#externalize && sizeBytes >= EXTERNAL_MIN_BYTES && !resizable) {
      const external = this.#externalize(sizeBytes === buffer.byteLength ? buffer : buffer.slice(startByte, endByte));
      if (external !== undefined) return { kind: 'buffer', external };
    }
    return { kind: 'buffer', bytes: new Uint8Array(buffer, startByte, sizeBytes), ...(resizable && { maxByteLength }) };
  }
}

const TypedArray = Object.getPrototypeOf(Uint8Array) as { readonly prototype: Uint8Array };

/** The name of the built-in class of a view, whatever a class of the program's own calls itself. */
export function typeOf(view: ArrayBufferView): string {
  return types.isDataView(view) ? 'DataView' : Reflect.get(TypedArray.prototype, Symbol.toStringTag, view);
}

/** Whether the buffer's bytes were given away, as by a transfer. */
export function isDetached(buffer: ArrayBuffer): boolean {
  if (buffer.byteLength > 0) return false;
  try {
    new Uint8Array(buffer);
    return false;
  } catch {
    return true;
  }
}
