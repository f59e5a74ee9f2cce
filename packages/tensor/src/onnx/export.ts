/** Models as ONNX: what they do with example inputs is watched, and written down operation by operation. */
import { invalid } from '../failure.js';
import type { Module } from '../nn/module.js';
import { indexSelect } from '../operations/indexing.js';
import { noGrad } from '../autograd/graph.js';
import { scope } from '../scope.js';
import { tensor } from '../factories.js';
import { Tensor } from '../tensor.js';
import { GraphBuilder } from './graph-builder.js';
import { LOWERINGS } from './lowering.js';
import { modelBytes, type OnnxValue } from './model-file.js';
import { dynamicSizes, formulaOf, isSame, nearby, runsOf, type DynamicAxes, type DynamicSize } from './sizes.js';
import { inUse, placeOf, traceOf, type Trace } from './trace.js';

export type { DynamicAxes };

/** As torch.onnx.export's. */
export interface OnnxOptions {
  /** A name for each input of forward(); `input`, or `input_0` and so on, unless told otherwise. */
  readonly inputNames?: readonly string[];
  /** A name for the output; `output` unless told otherwise. */
  readonly outputNames?: readonly string[];
  /** Dimensions whose size may differ from the example's. The output's follow from them. */
  readonly dynamicAxes?: DynamicAxes;
}

/**
 * A model as the bytes of an ONNX file, of operator set 18, as it is in use: without dropout, with what batch normalisation has learned. Weights have the
 * names of its state. Computing in 16 bits is done in f32 and rounded, as here.
 *
 * forward() is run with the example twice, or with `dynamicAxes` some times more in other sizes, and what it applies to the inputs is what the file does. What the program
 * itself computes becomes constant: a forward() that reads numbers of a tensor, draws some, or takes another way the next time, is refused.
 * @throws TensorError for what ONNX or this file's writer has no way to say, with the operation and the path of its module
 * @throws MusterError INVALID_ARGUMENT for names and axes that fit no input
 * @example
 * const bytes = exportOnnx(model, [zeros([1, 1, 28, 28])], { inputNames: ['images'], outputNames: ['logits'], dynamicAxes: { images: { 0: 'batch' } } });
 * await writeFile('model.onnx', bytes);
 */
export function exportOnnx(model: Module, exampleInputs: readonly Tensor[], { inputNames = defaultNames('input', exampleInputs.length), outputNames = ['output'], dynamicAxes = {} }: OnnxOptions = {}): Uint8Array {
  checkNames(exampleInputs, inputNames, outputNames);
  using _copies = scope();
  const { traces, sizes } = inUse(model, () => tracesOf(model, { exampleInputs, inputNames, dynamicAxes, sizes: dynamicSizes(inputNames, exampleInputs.map(({ shape }) => shape), dynamicAxes) }));
  checkSameWay(traces);

  const state = new Map<Tensor, string>();
  for (const [name, each] of model.namedTensors()) if (!state.has(each)) state.set(each, name);
  const builder = new GraphBuilder(traces, sizes, { inputs: inputNames, outputs: outputNames, state });
  for (const index of builder.needed()) {
    const site = builder.site(index);
    const lowering = LOWERINGS[site.operation.name] ?? site.refuse('there is no way yet to say it in ONNX');
    builder.setResult(index, lowering(site));
  }
  builder.finish(outputNames[0]!);
  const inputs = inputNames.map((name, index): OnnxValue => ({ name, dtype: exampleInputs[index]!.dtype, shape: exampleInputs[index]!.shape.map((extent, dimension) => dynamicAxes[name]?.[dimension] ?? extent) }));
  return modelBytes({ inputs, outputs: [outputOf(traces, sizes, outputNames[0]!)], initializers: builder.initializers, nodes: builder.nodes });
}

const defaultNames = (name: string, count: number): readonly string[] => (count === 1 ? [name] : Array.from({ length: count }, (_, index) => `${name}_${index}`));

function checkNames(exampleInputs: readonly Tensor[], inputNames: readonly string[], outputNames: readonly string[]): void {
  if (exampleInputs.length === 0 || exampleInputs.some(({ size }) => size === 0)) throw invalid('an example for an export', 'a tensor for each input, with elements');
  if (inputNames.length !== exampleInputs.length) throw invalid(`${inputNames.length} names of ${exampleInputs.length} inputs`, 'one for each');
  if (outputNames.length !== 1) throw invalid(`${outputNames.length} names of outputs`, 'one: forward() returns one tensor');
  const names = [...inputNames, ...outputNames];
  if (new Set(names).size !== names.length || names.includes('')) throw invalid(`the names ${names.map((name) => `'${name}'`).join(', ')}`, 'different from each other, and not empty');
}

interface Example {
  readonly exampleInputs: readonly Tensor[];
  readonly inputNames: readonly string[];
  readonly dynamicAxes: DynamicAxes;
  readonly sizes: readonly DynamicSize[];
}

interface Runs {
  readonly traces: readonly Trace[];
  readonly sizes: readonly DynamicSize[];
}

/** All runs, but the far one where the model does not take such sizes: images that are too small for it, or texts too long. */
function tracesOf(model: Module, example: Example): Runs {
  const { sizes } = example;
  const traces: Trace[] = [];
  for (let run = 0; run < runsOf(sizes); run++) {
    try {
      traces.push(traceOf(model, inputsOf(run, example)));
    } catch (error) {
      if (sizes.length === 0 || run === 0) throw error;
      if (run === runsOf(sizes) - 1) return { traces, sizes: nearby(sizes) };
      const tried = sizes.map((size) => `${size.name} ${size.sizes[run]}`).join(', ');
      throw invalid(`a dynamic axis of a model that, run with ${tried}, says: ${error instanceof Error ? error.message : String(error)} Its export`, 'with axes that take any size near the example\'s');
    }
  }
  return { traces, sizes };
}

/** The example in the sizes of a run: rows of it, again from the first where there are too few, so that all numbers are ones that the model takes. */
function inputsOf(run: number, { exampleInputs, inputNames, dynamicAxes, sizes }: Example): Tensor[] {
  return noGrad(() => exampleInputs.map((example, index) => {
    let input = example.detach();  // a tensor of its own, also where the example is a part of the model
    for (const [dimension, name] of Object.entries(dynamicAxes[inputNames[index]!] ?? {})) {
      const extent = input.shape[Number(dimension)]!;
      const wanted = sizes.find((size) => size.name === name)!.sizes[run]!;
      input = indexSelect(input, Number(dimension), tensor(Int32Array.from({ length: wanted }, (_, place) => place % extent)));
    }
    return input;
  }));
}

/** All runs must apply the same operations to the same things. */
function checkSameWay(traces: readonly Trace[]): void {
  const [first, ...others] = traces as readonly [Trace, ...Trace[]];
  const waysOf = ({ operations, output }: Trace): string[] => [...operations.map((operation) => `${placeOf(operation)} ${operation.inputs.map(({ source }) => ('index' in source ? `${source.kind} ${source.index}` : source.kind)).join()}`), JSON.stringify(output.source.kind)];
  const way = waysOf(first);
  for (const other of others) {
    const differs = waysOf(other).findIndex((step, index) => step !== way[index]);
    if (differs < 0) continue;
    const place = placeOf(first.operations[differs] ?? first.operations.at(-1) ?? { name: 'forward', path: '' });
    throw invalid(`an export of a model that takes another way when it is run again, from ${place} on,`, 'of a model that applies the same operations each time and whatever the sizes of its dynamic axes');
  }
}

function outputOf(traces: readonly Trace[], sizes: readonly DynamicSize[], name: string): OnnxValue {
  const { shape, dtype } = traces[0]!.output;
  const extents = shape.map((extent, dimension) => {
    const values = traces.map(({ output }) => output.shape[dimension]!);
    if (isSame(values)) return extent;
    const formula = formulaOf(values, sizes);
    const isSize = formula !== null && formula.of.length === 1 && formula.factor === 1 && formula.offset === 0;
    return isSize ? formula.of[0]!.name : `${name}_${dimension}`;
  });
  return { name, dtype, shape: extents };
}
