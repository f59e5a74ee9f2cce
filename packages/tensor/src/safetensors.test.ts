/** The safetensors format, there and back, and what is none. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { fromSafetensors, loadSafetensors, nn, randn, saveSafetensors, tensor, toSafetensors, type Dtype } from './index.js';

/** A file as the format says, by hand. */
function file(header: unknown, data: readonly number[], headerBytes?: number): Uint8Array {
  const text = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerBytes ?? text.length), true);
  bytes.set(text, 8);
  bytes.set(data, 8 + text.length);
  return bytes;
}

t.test('reads what others wrote', async (t) => {
  const header = { __metadata__: { format: 'pt' }, a: { dtype: 'F32', shape: [2], data_offsets: [0, 8] }, b: { dtype: 'BF16', shape: [], data_offsets: [8, 10] } };
  const { tensors, metadata } = fromSafetensors(file(header, [0, 0, 128, 63, 0, 0, 0, 192, 64, 64]));
  t.strictSame(tensors['a']!.toArray(), [1, -2]);
  t.strictSame([tensors['b']!.dtype, tensors['b']!.item()], ['bf16', 3]);
  t.strictSame(metadata, { format: 'pt' });
});

t.test('every dtype comes back as it was, views too', async (t) => {
  const dtypes: readonly Dtype[] = ['f32', 'f16', 'bf16', 'i32', 'i64', 'bool'];
  const tensors = Object.fromEntries(dtypes.map((dtype) => [dtype, tensor([[1, 0, 3], [4, 5, 6]], { dtype }).transpose()]));
  const { tensors: back } = fromSafetensors(toSafetensors(tensors));
  for (const dtype of dtypes) {
    t.equal(back[dtype]!.dtype, dtype);
    t.strictSame(back[dtype]!.toArray(), tensors[dtype]!.toArray());
  }
});

t.test('a model goes through a file, which is there whole or not at all', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'safetensors-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const [one, other] = [new nn.Linear(3, 2), new nn.Linear(3, 2)];
  const path = join(folder, 'model.safetensors');
  await saveSafetensors(path, one.stateDict(), { step: '7' });
  const { tensors, metadata } = await loadSafetensors(path);
  other.loadStateDict(tensors);
  const x = randn([4, 3]);
  t.strictSame(other.forward(x).toArray(), one.forward(x).toArray());
  t.strictSame(metadata, { step: '7' });
  await t.rejects(saveSafetensors(join(folder, 'missing', 'x'), {}), { code: 'ENOENT' });
  t.strictSame(await readdir(folder), ['model.safetensors']);
});

t.test('what is damaged or hostile is refused', async (t) => {
  const a = { dtype: 'F32', shape: [2], data_offsets: [0, 8] };
  const data = [0, 0, 0, 0, 0, 0, 0, 0];
  const bad: readonly (readonly [Uint8Array, RegExp])[] = [
    [new Uint8Array(3), /it has 3 bytes/], [file({ a }, data, 2 ** 40), /its header would have/], [file('{"a": ', data), /no object of JSON/], [file('[1]', data), /no object of JSON/],
    [file({ a }, data.slice(1)), /cannot lie/], [file({ a: { ...a, shape: [3] } }, data), /cannot lie/], [file({ a: { ...a, dtype: 'F64' } }, data), /dtype F64/],
    [file({ a: { ...a, data_offsets: [-4, 4] } }, data), /no place/], [file({ a: { ...a, shape: [1.5] } }, data), /no shape/], [file({ a: { ...a, data_offsets: [8, 0] } }, data), /cannot lie/],
    [file({ a: { ...a, shape: [2 ** 30, 2 ** 30] } }, data), /cannot lie/], [file({ a: null }, data), /dtype undefined/],
  ];
  for (const [bytes, message] of bad) t.throws(() => fromSafetensors(bytes), { code: 'INVALID_ARGUMENT', message });
  t.throws(() => toSafetensors({}, { step: 20 } as never), { code: 'INVALID_ARGUMENT', message: /the metadata 'step' of a file of safetensors is not valid: it must be a string/ }, 'and is not written');
});
