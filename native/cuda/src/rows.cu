/**
 * Softmax, cross-entropy and layer normalisation. A row belongs to a team: a warp where it has few columns, so that no block waits for its warps, else a
 * block. Bytes an element of b bytes, as long as the caches keep a row: softmax 2b, backward 3b, cross-entropy 2b with a gradient, layer norm 2b, backward 3b and 2b again
 * for the parameters, whose gradients are summed in parts of kPartRows rows and the parts in order.
 * Versions: maximum and sum in two passes; both in one, the sum rescaled when the maximum grows (Milakov and Gimelshein 2018).
 * CPU reference: src/kernels/rows.h.
 */
#include <cmath>

#include "formats.cuh"
#include "kernels/calls.h"
#include "kernels/check.h"
#include "launch.h"
#include "muster/cuda-kernels.h"
#include "reduce.cuh"

namespace muster::cuda {
namespace {

/** Up to so many columns a warp takes a row: 32 lanes have 32 elements each then. */
constexpr std::uint64_t kWarpColumns = 1024;
/** Rows of a part of the parameters' gradients. */
constexpr std::uint64_t kPartRows = 64;

/** Who computes a row. */
template <bool isBlock>
struct Team {
  __device__ __forceinline__ static std::uint64_t row() { return isBlock ? blockIdx.x : std::uint64_t{blockIdx.x} * (kBlockThreads / kWarp) + threadIdx.x / kWarp; }
  __device__ __forceinline__ static unsigned thread() { return isBlock ? threadIdx.x : threadIdx.x % kWarp; }
  __device__ __forceinline__ static unsigned threads() { return isBlock ? kBlockThreads : kWarp; }

  __device__ __forceinline__ static void sync() {
    if constexpr (isBlock) {
      syncBlock();
    } else {
      syncWarp();
    }
  }

  template <class Combine>
  __device__ __forceinline__ static float reduce(float value, float identity, Combine combine) {
    if constexpr (isBlock) {
      return reduceBlock(value, identity, combine);
    } else {
      return reduceWarp(value, combine);
    }
  }
};

template <class Format, class TeamOf, class Body>
__device__ __forceinline__ void forEachColumn(std::uint64_t columns, bool aligned, Body body) {
  forEachVector<kVector<Format>>(columns, aligned, TeamOf::thread(), TeamOf::threads(), body);
}

struct SoftmaxParts {
  float largest;
  float sum;
};

/** The largest number of a row and the sum of exp(x - largest). A row with NaN gives NaN, as does one of nothing but -infinity. */
template <class Format, class TeamOf>
__device__ __forceinline__ SoftmaxParts softmaxParts(const typename Format::Element* row, std::uint64_t columns, bool aligned) {
  float largest = -floatOf(kInfinity);
  float sum = 0;
  forEachColumn<Format, TeamOf>(columns, aligned, [&](auto count, std::uint64_t at) {
    float values[decltype(count)::value];
    load<Format>(row + at, values);
    float most = largest;
#pragma unroll
    for (const float value : values) most = Larger()(most, value);
    if (most == -floatOf(kInfinity)) return;  // exp(-infinity + infinity) is none of the sum's
    sum *= expf(largest - most);
    largest = most;
#pragma unroll
    for (const float value : values) sum += expf(value - largest);
  });
  const float most = TeamOf::reduce(largest, -floatOf(kInfinity), Larger());
  // A thread without a number brings 0; a row without any gives 0 / 0.
  const float share = largest == -floatOf(kInfinity) ? 0 : sum * expf(largest - most);
  return {most, TeamOf::reduce(share, 0.0f, Add())};
}

template <class Format, bool isBlock>
__global__ void __launch_bounds__(kBlockThreads) softmaxKernel(const typename Format::Element* input, std::uint64_t rows, std::uint64_t columns, typename Format::Element* result, bool aligned) {
  using TeamOf = Team<isBlock>;
  const std::uint64_t row = TeamOf::row();
  if (row >= rows) return;
  const SoftmaxParts parts = softmaxParts<Format, TeamOf>(input + row * columns, columns, aligned);
  forEachColumn<Format, TeamOf>(columns, aligned, [&](auto count, std::uint64_t at) {
    float values[decltype(count)::value];
    load<Format>(input + row * columns + at, values);
#pragma unroll
    for (float& value : values) value = expf(value - parts.largest) / parts.sum;
    store<Format>(result + row * columns + at, values);
  });
}

template <class Format, bool isBlock>
__global__ void __launch_bounds__(kBlockThreads) softmaxBackwardKernel(const typename Format::Element* output, const typename Format::Element* gradient, std::uint64_t rows, std::uint64_t columns,
                                                                       typename Format::Element* result, bool aligned) {
  using TeamOf = Team<isBlock>;
  const std::uint64_t row = TeamOf::row();
  if (row >= rows) return;
  const std::uint64_t start = row * columns;
  float product = 0;
  forEachColumn<Format, TeamOf>(columns, aligned, [&](auto count, std::uint64_t at) {
    constexpr int width = decltype(count)::value;
    float values[width], upper[width];
    load<Format>(output + start + at, values);
    load<Format>(gradient + start + at, upper);
#pragma unroll
    for (int index = 0; index < width; index++) product += values[index] * upper[index];
  });
  product = TeamOf::reduce(product, 0.0f, Add());
  forEachColumn<Format, TeamOf>(columns, aligned, [&](auto count, std::uint64_t at) {
    constexpr int width = decltype(count)::value;
    float values[width], upper[width];
    load<Format>(output + start + at, values);
    load<Format>(gradient + start + at, upper);
#pragma unroll
    for (int index = 0; index < width; index++) values[index] *= upper[index] - product;
    store<Format>(result + start + at, values);
  });
}

template <class Format, bool isBlock>
__global__ void __launch_bounds__(kBlockThreads) crossEntropyKernel(const typename Format::Element* logits, std::uint64_t rows, std::uint64_t columns, const std::int32_t* targets, float* losses,
                                                                    typename Format::Element* gradient, float gradientScale, bool aligned) {
  using TeamOf = Team<isBlock>;
  const std::uint64_t row = TeamOf::row();
  if (row >= rows) return;
  const std::uint64_t start = row * columns;
  const std::int32_t target = targets[row];
  const bool counts = target != -1;
  const bool isInside = target >= 0 && static_cast<std::uint64_t>(target) < columns;
  SoftmaxParts parts{0, 1};
  if (counts) parts = softmaxParts<Format, TeamOf>(logits + start, columns, aligned);
  // What is outside makes all of the row NaN.
  const float factor = isInside || !counts ? gradientScale : floatOf(kInfinity | kQuiet);
  float logit = 0;
  if (isInside) {
    float one[1];
    load<Format>(logits + start + target, one);
    logit = one[0];
  }
  if (gradient != nullptr) {
    TeamOf::sync();  // the gradient may lie where the logits are, and by now all threads have read the target's
    forEachColumn<Format, TeamOf>(columns, aligned, [&](auto count, std::uint64_t at) {
      constexpr int width = decltype(count)::value;
      float values[width];
      load<Format>(logits + start + at, values);
#pragma unroll
      for (int index = 0; index < width; index++) {
        const float share = expf(values[index] - parts.largest) / parts.sum;
        const bool isTarget = isInside && at + static_cast<unsigned>(index) == static_cast<std::uint64_t>(target);
        values[index] = counts ? (share - (isTarget ? 1.0f : 0.0f)) * factor : 0;
      }
      store<Format>(gradient + start + at, values);
    });
  }
  if (TeamOf::thread() == 0) losses[row] = !counts ? 0 : isInside ? parts.largest + logf(parts.sum) - logit : floatOf(kInfinity | kQuiet);
}

template <class Format, bool isBlock>
__global__ void __launch_bounds__(kBlockThreads) layerNormKernel(const typename Format::Element* input, std::uint64_t rows, std::uint64_t columns, const float* weight, const float* bias,
                                                                 typename Format::Element* result, float* means, float* scales, float epsilon, bool aligned) {
  using TeamOf = Team<isBlock>;
  const std::uint64_t row = TeamOf::row();
  if (row >= rows) return;
  const auto* const from = input + row * columns;
  float sum = 0;
  forEachColumn<Format, TeamOf>(columns, aligned, [&](auto count, std::uint64_t at) {
    float values[decltype(count)::value];
    load<Format>(from + at, values);
#pragma unroll
    for (const float value : values) sum += value;
  });
  const float mean = TeamOf::reduce(sum, 0.0f, Add()) / static_cast<float>(columns);
  float squares = 0;
  forEachColumn<Format, TeamOf>(columns, aligned, [&](auto count, std::uint64_t at) {
    float values[decltype(count)::value];
    load<Format>(from + at, values);
#pragma unroll
    for (const float value : values) squares += (value - mean) * (value - mean);
  });
  const float scale = 1 / sqrtf(TeamOf::reduce(squares, 0.0f, Add()) / static_cast<float>(columns) + epsilon);
  forEachColumn<Format, TeamOf>(columns, aligned, [&](auto count, std::uint64_t at) {
    constexpr int width = decltype(count)::value;
    float values[width], weights[width], biases[width];
    load<Format>(from + at, values);
    load<F32>(weight + at, weights);
    load<F32>(bias + at, biases);
#pragma unroll
    for (int index = 0; index < width; index++) values[index] = (values[index] - mean) * scale * weights[index] + biases[index];
    store<Format>(result + row * columns + at, values);
  });
  if (TeamOf::thread() == 0) means[row] = mean, scales[row] = scale;
}

template <class Format, bool isBlock>
__global__ void __launch_bounds__(kBlockThreads) layerNormBackwardKernel(const typename Format::Element* input, const typename Format::Element* gradient, std::uint64_t rows, std::uint64_t columns,
                                                                         const float* weight, const float* means, const float* scales, typename Format::Element* result, bool aligned) {
  using TeamOf = Team<isBlock>;
  const std::uint64_t row = TeamOf::row();
  if (row >= rows) return;
  const std::uint64_t start = row * columns;
  const float mean = means[row];
  const float scale = scales[row];
  float sum = 0;
  float product = 0;
  forEachColumn<Format, TeamOf>(columns, aligned, [&](auto count, std::uint64_t at) {
    constexpr int width = decltype(count)::value;
    float values[width], upper[width], weights[width];
    load<Format>(input + start + at, values);
    load<Format>(gradient + start + at, upper);
    load<F32>(weight + at, weights);
#pragma unroll
    for (int index = 0; index < width; index++) {
      const float weighted = upper[index] * weights[index];
      sum += weighted;
      product += weighted * ((values[index] - mean) * scale);
    }
  });
  sum = TeamOf::reduce(sum, 0.0f, Add()) / static_cast<float>(columns);
  product = TeamOf::reduce(product, 0.0f, Add()) / static_cast<float>(columns);
  forEachColumn<Format, TeamOf>(columns, aligned, [&](auto count, std::uint64_t at) {
    constexpr int width = decltype(count)::value;
    float values[width], upper[width], weights[width];
    load<Format>(input + start + at, values);
    load<Format>(gradient + start + at, upper);
    load<F32>(weight + at, weights);
#pragma unroll
    for (int index = 0; index < width; index++) values[index] = scale * (upper[index] * weights[index] - sum - (values[index] - mean) * scale * product);
    store<Format>(result + start + at, values);
  });
}

/** Threads of a block in a column: each takes every kPartLanes-th row of the part. */
constexpr unsigned kPartLanes = kBlockThreads / kWarp;

/** A block for kWarp columns (x) and a part of the rows (y): sums of the weight's and the bias's gradient. */
template <class Format>
__global__ void __launch_bounds__(kBlockThreads) layerNormPartsKernel(const typename Format::Element* input, const typename Format::Element* gradient, std::uint64_t rows, std::uint64_t columns,
                                                                      const float* means, const float* scales, float* weightParts, float* biasParts) {
  __shared__ float sums[2][kPartLanes][kWarp];
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned line = threadIdx.x / kWarp;
  const std::uint64_t column = std::uint64_t{blockIdx.x} * kWarp + lane;
  float weightSum = 0;
  float biasSum = 0;
  for (std::uint64_t row = blockIdx.y * kPartRows + line; row < rows && row < (blockIdx.y + 1) * kPartRows && column < columns; row += kPartLanes) {
    float value[1], upper[1];
    load<Format>(input + row * columns + column, value);
    load<Format>(gradient + row * columns + column, upper);
    weightSum += upper[0] * ((value[0] - means[row]) * scales[row]);
    biasSum += upper[0];
  }
  sums[0][line][lane] = weightSum;
  sums[1][line][lane] = biasSum;
  syncBlock();
  if (line != 0 || column >= columns) return;
  for (unsigned other = 1; other < kPartLanes; other++) {
    weightSum += sums[0][other][lane];
    biasSum += sums[1][other][lane];
  }
  weightParts[blockIdx.y * columns + column] = weightSum;
  biasParts[blockIdx.y * columns + column] = biasSum;
}

/** A thread for each column. */
__global__ void __launch_bounds__(kBlockThreads) addPartsKernel(const float* weightParts, const float* biasParts, unsigned parts, std::uint64_t columns, float* weightGradient, float* biasGradient) {
  const std::uint64_t column = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  float weightSum = 0;
  float biasSum = 0;
  for (unsigned part = 0; part < parts; part++) {
    weightSum += weightParts[part * columns + column];
    biasSum += biasParts[part * columns + column];
  }
  weightGradient[column] += weightSum;
  biasGradient[column] += biasSum;
}

/** Calls `start(kind, isBlock, blocks)` for the rows of a call. */
template <class Start>
muster_code startRows(muster_dtype dtype, std::uint64_t rows, std::uint64_t columns, Start start) {
  if (rows == 0) return MUSTER_OK;
  const bool isBlock = columns > kWarpColumns;
  const std::uint64_t blocks = isBlock ? rows : (rows + kBlockThreads / kWarp - 1) / (kBlockThreads / kWarp);
  if (blocks >= std::uint64_t{1} << 31) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%llu rows are more than a call can take", static_cast<unsigned long long>(rows));
  return withTrainingFormat(dtype, [&](auto kind) {
    return isBlock ? start(kind, std::true_type(), static_cast<unsigned>(blocks)) : start(kind, std::false_type(), static_cast<unsigned>(blocks));
  });
}

bool rowsAreAligned(std::uint64_t columns, muster_dtype dtype) { return columns * muster::elementBytes(dtype) % 16 == 0; }

const float* floatsOf(const muster_tensor& tensor) { return static_cast<const float*>(tensor.data); }

muster_code addParameterGradients(const muster_layer_norm_backward_call& call, std::uint64_t rows, cudaStream_t stream) {
  const std::uint64_t parts = (rows + kPartRows - 1) / kPartRows;
  constexpr std::uint64_t partsMax = 65535;  // of a grid's second dimension
  if (parts > partsMax) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%llu rows are more than the %llu that a call can take", static_cast<unsigned long long>(rows), static_cast<unsigned long long>(partsMax * kPartRows));
  StreamMemory memory(stream);
  if (const muster_code code = memory.reserve(2 * parts * call.columns * sizeof(float)); code != MUSTER_OK) return code;
  auto* const weightParts = static_cast<float*>(memory.data());
  float* const biasParts = weightParts + parts * call.columns;
  const dim3 grid(static_cast<unsigned>((call.columns + kWarp - 1) / kWarp), static_cast<unsigned>(parts));
  const muster_code code = withTrainingFormat(call.input.dtype, [&](auto kind) {
    using Element = typename decltype(kind)::Element;
    return launch(layerNormPartsKernel<decltype(kind)>, grid, kBlockThreads, 0, stream, static_cast<const Element*>(call.input.data), static_cast<const Element*>(call.gradient.data), rows, call.columns,
                  floatsOf(call.mean), floatsOf(call.scale), weightParts, biasParts);
  });
  if (code != MUSTER_OK) return code;
  const auto blocks = static_cast<unsigned>((call.columns + kBlockThreads - 1) / kBlockThreads);
  return launch(addPartsKernel, blocks, kBlockThreads, 0, stream, static_cast<const float*>(weightParts), static_cast<const float*>(biasParts), static_cast<unsigned>(parts), call.columns,
                static_cast<float*>(call.weight_gradient.data), static_cast<float*>(call.bias_gradient.data));
}

}  // namespace
}  // namespace muster::cuda

using namespace muster::cuda;

muster_code muster_cuda_softmax(const muster_tensor* input, uint64_t columns, const muster_tensor* result, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkSoftmax(*input, columns, *result); code != MUSTER_OK) return code;
  const std::uint64_t rows = input->elements / columns;
  return startRows(input->dtype, rows, columns, [&](auto kind, auto isBlock, unsigned blocks) {
    using Element = typename decltype(kind)::Element;
    return launch(softmaxKernel<decltype(kind), decltype(isBlock)::value>, blocks, kBlockThreads, 0, stream, static_cast<const Element*>(input->data), rows, columns, static_cast<Element*>(result->data),
                  areAligned(input->data, result->data) && rowsAreAligned(columns, input->dtype));
  });
}

muster_code muster_cuda_softmax_backward(const muster_tensor* output, const muster_tensor* gradient, uint64_t columns, const muster_tensor* result, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkSoftmaxBackward(*output, *gradient, columns, *result); code != MUSTER_OK) return code;
  const std::uint64_t rows = output->elements / columns;
  return startRows(output->dtype, rows, columns, [&](auto kind, auto isBlock, unsigned blocks) {
    using Element = typename decltype(kind)::Element;
    return launch(softmaxBackwardKernel<decltype(kind), decltype(isBlock)::value>, blocks, kBlockThreads, 0, stream, static_cast<const Element*>(output->data), static_cast<const Element*>(gradient->data), rows,
                  columns, static_cast<Element*>(result->data), areAligned(output->data, gradient->data, result->data) && rowsAreAligned(columns, output->dtype));
  });
}

muster_code muster_cuda_cross_entropy(const muster_cross_entropy_call* call, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkCrossEntropy(*call); code != MUSTER_OK) return code;
  const std::uint64_t rows = call->logits.elements / call->columns;
  void* const gradient = call->gradient.elements == 0 ? nullptr : call->gradient.data;
  return startRows(call->logits.dtype, rows, call->columns, [&](auto kind, auto isBlock, unsigned blocks) {
    using Element = typename decltype(kind)::Element;
    return launch(crossEntropyKernel<decltype(kind), decltype(isBlock)::value>, blocks, kBlockThreads, 0, stream, static_cast<const Element*>(call->logits.data), rows, call->columns, call->targets,
                  static_cast<float*>(call->losses.data), static_cast<Element*>(gradient), call->gradient_scale, areAligned(call->logits.data, gradient) && rowsAreAligned(call->columns, call->logits.dtype));
  });
}

muster_code muster_cuda_layer_norm(const muster_layer_norm_call* call, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkLayerNorm(*call); code != MUSTER_OK) return code;
  const std::uint64_t rows = call->input.elements / call->columns;
  const bool aligned = areAligned(call->input.data, call->result.data, call->weight.data, call->bias.data) && rowsAreAligned(call->columns, call->input.dtype);
  return startRows(call->input.dtype, rows, call->columns, [&](auto kind, auto isBlock, unsigned blocks) {
    using Element = typename decltype(kind)::Element;
    return launch(layerNormKernel<decltype(kind), decltype(isBlock)::value>, blocks, kBlockThreads, 0, stream, static_cast<const Element*>(call->input.data), rows, call->columns, floatsOf(call->weight),
                  floatsOf(call->bias), static_cast<Element*>(call->result.data), static_cast<float*>(call->mean.data), static_cast<float*>(call->scale.data), static_cast<float>(call->epsilon), aligned);
  });
}

muster_code muster_cuda_layer_norm_backward(const muster_layer_norm_backward_call* call, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkLayerNormBackward(*call); code != MUSTER_OK) return code;
  const std::uint64_t rows = call->input.elements / call->columns;
  if (rows == 0) return MUSTER_OK;
  // The parameters first: the input's gradient may lie where the others are.
  if (const muster_code code = addParameterGradients(*call, rows, stream); code != MUSTER_OK) return code;
  const bool aligned = areAligned(call->input.data, call->gradient.data, call->input_gradient.data, call->weight.data) && rowsAreAligned(call->columns, call->input.dtype);
  return startRows(call->input.dtype, rows, call->columns, [&](auto kind, auto isBlock, unsigned blocks) {
    using Element = typename decltype(kind)::Element;
    return launch(layerNormBackwardKernel<decltype(kind), decltype(isBlock)::value>, blocks, kBlockThreads, 0, stream, static_cast<const Element*>(call->input.data),
                  static_cast<const Element*>(call->gradient.data), rows, call->columns, floatsOf(call->weight), floatsOf(call->mean), floatsOf(call->scale), static_cast<Element*>(call->input_gradient.data), aligned);
  });
}
