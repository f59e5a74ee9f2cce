/**
 * Writes a trained network as an ONNX model: the few messages of onnx.proto that two layers need.
 * Source: github.com/onnx/onnx, onnx/onnx.proto, IR version 8 and operator set 13.
 */
import protobuf from 'protobufjs';
import { CLASSES, PIXELS, type Network } from './mnist.js';

const SCHEMA = `
  syntax = "proto2";
  message AttributeProto { optional string name = 1; optional int64 i = 3; optional int32 type = 20; }
  message NodeProto { repeated string input = 1; repeated string output = 2; optional string op_type = 4; repeated AttributeProto attribute = 5; }
  message TensorProto { repeated int64 dims = 1; optional int32 data_type = 2; optional string name = 8; optional bytes raw_data = 9; }
  message Dimension { optional int64 dim_value = 1; optional string dim_param = 2; }
  message TensorShapeProto { repeated Dimension dim = 1; }
  message TensorType { optional int32 elem_type = 1; optional TensorShapeProto shape = 2; }
  message TypeProto { optional TensorType tensor_type = 1; }
  message ValueInfoProto { optional string name = 1; optional TypeProto type = 2; }
  message GraphProto {
    repeated NodeProto node = 1; optional string name = 2; repeated TensorProto initializer = 5;
    repeated ValueInfoProto input = 11; repeated ValueInfoProto output = 12;
  }
  message OperatorSetIdProto { optional string domain = 1; optional int64 version = 2; }
  message ModelProto { optional int64 ir_version = 1; optional string producer_name = 2; optional GraphProto graph = 7; repeated OperatorSetIdProto opset_import = 8; }
`;

/** TensorProto.DataType.FLOAT. */
const FLOAT = 1;
/** AttributeProto.AttributeType.INT. */
const INT = 2;

/** A model of `pixels` (images x 784, 0 to 1), which gives `chances` (images x 10). */
export function onnxModel({ hidden, output }: Network): Uint8Array {
  const units = hidden.length / (PIXELS + 1);
  const graph = {
    name: 'digits', input: [rows('pixels', PIXELS)], output: [rows('chances', CLASSES)],
    initializer: [...layer('hidden', hidden, PIXELS, units), ...layer('output', output, units, CLASSES)],
    node: [
      { opType: 'Gemm', input: ['pixels', 'hidden_weights', 'hidden_biases'], output: ['sums'] },
      { opType: 'Relu', input: ['sums'], output: ['rectified'] },
      { opType: 'Gemm', input: ['rectified', 'output_weights', 'output_biases'], output: ['scores'] },
      { opType: 'Softmax', input: ['scores'], output: ['chances'], attribute: [{ name: 'axis', i: 1, type: INT }] },
    ],
  };
  const Model = protobuf.parse(SCHEMA).root.lookupType('ModelProto');
  return Model.encode(Model.fromObject({ irVersion: 8, producerName: 'muster', opsetImport: [{ domain: '', version: 13 }], graph })).finish();
}

/** A network's layer: its weights, inputs x outputs, and then its biases. */
function layer(name: string, values: Float32Array, inputs: number, outputs: number): object[] {
  const tensor = (part: string, dims: readonly number[], data: Float32Array): object =>
    ({ name: `${name}_${part}`, dataType: FLOAT, dims, rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) });
  return [tensor('weights', [inputs, outputs], values.subarray(0, inputs * outputs)), tensor('biases', [outputs], values.subarray(inputs * outputs))];
}

/** Any number of images, a row for each. */
const rows = (name: string, width: number): object => ({ name, type: { tensorType: { elemType: FLOAT, shape: { dim: [{ dimParam: 'images' }, { dimValue: width }] } } } });
