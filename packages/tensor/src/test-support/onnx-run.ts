/** Exported models as ONNX Runtime runs them. */
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { tensor, type Dtype, type Tensor } from '../index.js';

const TYPES: Readonly<Partial<Record<Dtype, 'float32' | 'int32' | 'int64' | 'bool'>>> = { f32: 'float32', i32: 'int32', i64: 'int64', bool: 'bool' };
const DTYPES: Readonly<Record<string, Dtype>> = { float32: 'f32', int32: 'i32', int64: 'i64', bool: 'bool' };

/** The one output of a model for inputs by their names. */
export async function runOnnx(bytes: Uint8Array, inputs: Readonly<Record<string, Tensor>>): Promise<Tensor> {
  const session = await InferenceSession.create(bytes, { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3 });
  try {
    const feeds = Object.entries(inputs).map(([name, input]) => [name, new OrtTensor(TYPES[input.dtype]!, input.toTypedArray() as Float32Array, input.shape)] as const);
    const [output] = Object.values(await session.run(Object.fromEntries(feeds)));
    return tensor(output!.data as Float32Array, { shape: output!.dims as number[], dtype: DTYPES[output!.type]! });
  } finally {
    await session.release();
  }
}
