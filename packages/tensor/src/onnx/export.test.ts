/** Exported models in ONNX Runtime: every operation gives what PyTorch recorded, and models what they give here. */
import t from 'tap';
import { exportOnnx, nn, type Tensor } from '../index.js';
import { CALLS, type Options } from '../test-support/calls.js';
import { runOnnx } from '../test-support/onnx-run.js';
import { difference, fixture, recordedTensor, type Recorded } from '../test-support/recorded.js';

interface Case {
  readonly call: string;
  readonly options: Options;
  readonly inputs: readonly Recorded[];
  readonly result: Recorded;
}

const CASES = fixture<readonly Case[]>('operations');

const is16Bits = ({ dtype }: { readonly dtype: string }): boolean => dtype === 'f16' || dtype === 'bf16';

/** A recorded call as a model. ONNX Runtime's JavaScript knows no 16 bits: they go in and come out as f32. */
class Call extends nn.Module {
  readonly #recorded: Case;

  constructor(recorded: Case) {
    super();
    this.#recorded = recorded;
  }

  forward(...inputs: Tensor[]): Tensor {
    const { call, options, inputs: wanted } = this.#recorded;
    const result = CALLS[call]!(inputs.map((input, index) => input.to(wanted[index]!.dtype)), options);
    return is16Bits(result) ? result.to('f32') : result;
  }
}

/** What belongs to training. */
const LOSS = /a loss belongs to training/;
const REFUSED = new Map([['crossEntropy', LOSS], ['binaryCrossEntropy', LOSS], ['binaryCrossEntropyWeight', LOSS], ['binaryCrossEntropyEdge', LOSS], ['batchNorm', /the batch's own statistics/]]);

for (const call of Object.keys(CALLS)) {
  const cases = CASES.filter((each) => each.call === call);
  t.test(`${call} is in ONNX what PyTorch recorded`, async (t) => {
    for (const recorded of cases) {
      const title = `${recorded.inputs.map(({ dtype, shape }) => `${dtype}[${shape.join()}]`).join(' and ')} ${JSON.stringify(recorded.options)}`;
      const inputs = recorded.inputs.map((input) => (is16Bits(input) ? recordedTensor(input).to('f32') : recordedTensor(input)));
      const names = inputs.map((_, index) => `x${index}`);
      const exported = (): Uint8Array => exportOnnx(new Call(recorded), inputs, { inputNames: names });
      const refusal = REFUSED.get(call);
      if (refusal !== undefined && (recorded.options as { labelSmoothing?: number }).labelSmoothing === undefined) {
        t.throws(exported, { code: 'TENSOR', message: refusal }, title);
        continue;
      }
      const found = await runOnnx(exported(), Object.fromEntries(names.map((name, index) => [name, inputs[index]!])));
      const wanted: Recorded = is16Bits(recorded.result) ? { ...recorded.result, dtype: 'f32' } : recorded.result;
      t.equal(difference(found, wanted, recorded.inputs.map(({ dtype }) => dtype)), null, title);
    }
  });
}
