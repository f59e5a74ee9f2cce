/** Graphs as bytes of an ONNX model. What the messages are says proto/onnx.proto; what their numbers mean, this file. */
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';
import { type Dtype } from '../dtype.js';
import { invalid } from '../failure.js';
import type { Shape } from '../shape.js';
import { bytesOf, denseOf, type Tensor } from '../tensor.js';

/** The operator set that models are written for, and the version of the format that came with it. */
const OPSET_VERSION = 18;
const IR_VERSION = 8;

/** What protobuf can hold in one message. Larger models have their weights in files of their own, which are not written here. */
const MODEL_BYTES_MAX = 2 ** 31 - 1;

/** TensorProto.DataType */
export const DATA_TYPES: Readonly<Record<Dtype, number>> = { f32: 1, i32: 6, i64: 7, bool: 9, f16: 10, bf16: 16 };

/** AttributeProto.AttributeType */
const FLOAT = 1, INT = 2, STRING = 3, TENSOR = 4, INTS = 7;

/** Whole numbers, several of them, a text, a tensor of one number, or a fraction. */
export type Attribute = number | readonly number[] | string | { readonly float: number } | { readonly tensor: Tensor };

export interface OnnxNode {
  readonly name: string;
  readonly opType: string;
  readonly inputs: readonly string[];
  readonly output: string;
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** What goes in or comes out. A dimension is a size, or the name of one. */
export interface OnnxValue {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly (number | string)[];
}

export interface OnnxGraph {
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  readonly initializers: ReadonlyMap<string, Tensor>;
  /** Each behind those whose outputs it takes. */
  readonly nodes: readonly OnnxNode[];
}

let modelType: protobuf.Type | null = null;

/** @throws MusterError INVALID_ARGUMENT for a model that one message cannot hold */
export function modelBytes({ inputs, outputs, initializers, nodes }: OnnxGraph): Uint8Array {
  const weightBytes = [...initializers.values()].reduce((total, tensor) => total + bytesOf(tensor), 0);
  if (weightBytes > MODEL_BYTES_MAX) throw invalid(`an ONNX model with ${weightBytes} bytes of weights`, `of less than ${MODEL_BYTES_MAX}: take a smaller dtype`);
  modelType ??= protobuf.loadSync(fileURLToPath(new URL('../../proto/onnx.proto', import.meta.url))).lookupType('onnx.ModelProto');
  const graph = {
    name: 'model', input: inputs.map(valueOf), output: outputs.map(valueOf), node: nodes.map(nodeOf),
    initializer: [...initializers].map(([name, tensor]) => ({ name, ...tensorOf(tensor) })),
  };
  return modelType.encode({ irVersion: IR_VERSION, producerName: 'muster', opsetImport: [{ domain: '', version: OPSET_VERSION }], graph }).finish();
}

function valueOf({ name, dtype, shape }: OnnxValue): object {
  const dim = shape.map((extent) => (typeof extent === 'string' ? { dimParam: extent } : { dimValue: extent }));
  return { name, type: { tensorType: { elemType: DATA_TYPES[dtype], shape: { dim } } } };
}

function nodeOf({ name, opType, inputs, output, attributes }: OnnxNode): object {
  return { name, opType, input: inputs, output: [output], attribute: Object.entries(attributes).map(([attribute, value]) => ({ name: attribute, ...attributeOf(value) })) };
}

function attributeOf(value: Attribute): object {
  if (typeof value === 'number') return { i: value, type: INT };
  if (typeof value === 'string') return { s: new TextEncoder().encode(value), type: STRING };
  if ('float' in value) return { f: value.float, type: FLOAT };
  if ('tensor' in value) return { t: tensorOf(value.tensor), type: TENSOR };
  return { ints: value, type: INTS };
}

function tensorOf(tensor: Tensor): { readonly dims: Shape; readonly dataType: number; readonly rawData: Uint8Array } {
  const memory = denseOf(tensor).memory();
  return { dims: tensor.shape, dataType: DATA_TYPES[tensor.dtype], rawData: new Uint8Array(memory.buffer, memory.byteOffset, memory.byteLength) };
}
