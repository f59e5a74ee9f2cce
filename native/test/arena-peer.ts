/** The other process of arena.test.ts: does with the arena what it is told, and answers. Dies with the test. */
import { Arena, dieWithParent, type Arena as OpenArena } from '../index.js';

/** What the test asks for. */
export type PeerRequest =
  | { readonly kind: 'write'; readonly offset: number; readonly text: string }
  | { readonly kind: 'read'; readonly offset: number; readonly sizeBytes: number }
  /** Keeps the view until the peer ends. */
  | { readonly kind: 'view'; readonly offset: number; readonly sizeBytes: number }
  /** Fills the view kept last. */
  | { readonly kind: 'fill-view'; readonly value: number }
  /** Whether the view kept last holds nothing but this value. */
  | { readonly kind: 'view-is'; readonly value: number };

dieWithParent(process.ppid);
const arena: OpenArena = Arena.open(process.argv[2] ?? '');
let view = new Uint8Array(0);

function answer(request: PeerRequest): string | boolean {
  switch (request.kind) {
    case 'write':
      arena.write(request.offset, Buffer.from(request.text));
      return true;
    case 'read': {
      const target = Buffer.alloc(request.sizeBytes);
      arena.read(request.offset, target);
      return target.toString();
    }
    case 'view':
      view = new Uint8Array(arena.view(request.offset, request.sizeBytes, 0));
      return true;
    case 'fill-view':
      view.fill(request.value);
      return true;
    case 'view-is':
      return view.every((byte) => byte === request.value);
  }
}

process.on('message', (request: PeerRequest) => process.send?.(answer(request)));
