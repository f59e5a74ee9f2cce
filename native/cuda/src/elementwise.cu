/**
 * Sums, products, activations, summaries and embeddings. Bytes an element of b bytes: combine 3b, activate 2b, backward 3b, summaries b, embedding 2b,
 * its backward pass b + 8. GELU and its slope take about 60 instructions, less than memory takes on any device since Ampere.
 * CPU reference: src/kernels/elementwise.h and activation.h, whose functions these are; exp, tanh and erf are the device's, within 2 units of the last place.
 */
#include "kernels/activation.h"
#include "kernels/calls.h"
#include "kernels/check.h"
#include "formats.cuh"
#include "launch.h"
#include "muster/cuda-kernels.h"
#include "reduce.cuh"

namespace muster::cuda {
namespace {

__device__ __forceinline__ std::uint64_t threadOfGrid() { return std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ __forceinline__ std::uint64_t threadsOfGrid() { return std::uint64_t{gridDim.x} * blockDim.x; }

template <class Format>
__global__ void __launch_bounds__(kBlockThreads) combineKernel(muster_pairwise operation, const typename Format::Element* first, const typename Format::Element* second, typename Format::Element* result,
                                                               std::uint64_t elements, bool aligned) {
  forEachVector<kVector<Format>>(elements, aligned, threadOfGrid(), threadsOfGrid(), [&](auto count, std::uint64_t at) {
    constexpr int width = decltype(count)::value;
    float a[width], b[width];
    load<Format>(first + at, a);
    load<Format>(second + at, b);
#pragma unroll
    for (int index = 0; index < width; index++) a[index] = operation == MUSTER_ADD ? a[index] + b[index] : a[index] * b[index];
    store<Format>(result + at, a);
  });
}

template <class Format>
__global__ void __launch_bounds__(kBlockThreads) activateKernel(muster_activation activation, const typename Format::Element* input, typename Format::Element* result, std::uint64_t elements, bool aligned) {
  forEachVector<kVector<Format>>(elements, aligned, threadOfGrid(), threadsOfGrid(), [&](auto count, std::uint64_t at) {
    float values[decltype(count)::value];
    load<Format>(input + at, values);
#pragma unroll
    for (float& value : values) value = kernels::reference::activate(activation, value);
    store<Format>(result + at, values);
  });
}

template <class Format>
__global__ void __launch_bounds__(kBlockThreads) activateBackwardKernel(muster_activation activation, const typename Format::Element* input, const typename Format::Element* gradient,
                                                                        typename Format::Element* result, std::uint64_t elements, bool aligned) {
  forEachVector<kVector<Format>>(elements, aligned, threadOfGrid(), threadsOfGrid(), [&](auto count, std::uint64_t at) {
    constexpr int width = decltype(count)::value;
    float values[width], upper[width];
    load<Format>(input + at, values);
    load<Format>(gradient + at, upper);
#pragma unroll
    for (int index = 0; index < width; index++) values[index] = kernels::reference::backward(activation, values[index], upper[index]);
    store<Format>(result + at, values);
  });
}

__device__ __forceinline__ double summarizeBlock(muster_reduction_kind kind, double value) {
  return kind == MUSTER_TOTAL ? reduceBlock(value, 0.0, Add()) : reduceBlock(value, -static_cast<double>(floatOf(kInfinity)), Larger());
}

__device__ __forceinline__ double summarizeNone(muster_reduction_kind kind) { return kind == MUSTER_TOTAL ? 0 : -static_cast<double>(floatOf(kInfinity)); }

/** A sum for each block. */
template <class Format>
__global__ void __launch_bounds__(kBlockThreads) summarizeKernel(muster_reduction_kind kind, const typename Format::Element* input, std::uint64_t elements, bool aligned, double* parts) {
  double result = summarizeNone(kind);
  forEachVector<kVector<Format>>(elements, aligned, threadOfGrid(), threadsOfGrid(), [&](auto count, std::uint64_t at) {
    float values[decltype(count)::value];
    load<Format>(input + at, values);
#pragma unroll
    for (const float value : values) result = kind == MUSTER_TOTAL ? result + value : Larger()(result, static_cast<double>(value));
  });
  result = summarizeBlock(kind, result);
  if (threadIdx.x == 0) parts[blockIdx.x] = result;
}

/** By one block. */
__global__ void __launch_bounds__(kBlockThreads) summarizePartsKernel(muster_reduction_kind kind, const double* parts, unsigned count, double* result) {
  double value = summarizeNone(kind);
  for (unsigned index = threadIdx.x; index < count; index += blockDim.x) value = kind == MUSTER_TOTAL ? value + parts[index] : Larger()(value, parts[index]);
  value = summarizeBlock(kind, value);
  if (threadIdx.x == 0) *result = value;
}

/** A block for each row of the result. */
template <class Format>
__global__ void __launch_bounds__(kBlockThreads) embeddingKernel(const typename Format::Element* table, std::uint64_t rows, std::uint64_t columns, const std::int32_t* tokens, typename Format::Element* result,
                                                                 bool aligned) {
  const std::int32_t token = tokens[blockIdx.x];
  const bool isInside = token >= 0 && static_cast<std::uint64_t>(token) < rows;
  const auto* const from = table + (isInside ? static_cast<std::uint64_t>(token) : 0) * columns;
  auto* const to = result + std::uint64_t{blockIdx.x} * columns;
  forEachVector<kVector<Format>>(columns, aligned, threadIdx.x, blockDim.x, [&](auto count, std::uint64_t at) {
    float values[decltype(count)::value];
    load<Format>(from + at, values);
#pragma unroll
    for (float& value : values) value = isInside ? value : floatOf(kInfinity | kQuiet);
    store<Format>(to + at, values);
  });
}

/**
 * A block for each row of the gradient; the first one with a token adds all rows with it, in their order, so that no two blocks write one row of the
 * table and no atomics are needed. The others find out that they are not the first, and end.
 */
template <class Format>
__global__ void __launch_bounds__(kBlockThreads) embeddingBackwardKernel(const typename Format::Element* gradient, std::uint64_t count, std::uint64_t columns, const std::int32_t* tokens, float* tableGradient,
                                                                         std::uint64_t rows, bool aligned) {
  __shared__ bool matches[kBlockThreads];
  const std::uint64_t own = blockIdx.x;
  const std::int32_t token = tokens[own];
  if (token < 0 || static_cast<std::uint64_t>(token) >= rows) return;
  bool isEarlier = false;
  for (std::uint64_t index = threadIdx.x; index < own && !isEarlier; index += blockDim.x) isEarlier = tokens[index] == token;
  if (anyInBlock(isEarlier)) return;
  float* const sums = tableGradient + static_cast<std::uint64_t>(token) * columns;
  for (std::uint64_t base = own; base < count; base += blockDim.x) {
    const bool isMatch = base + threadIdx.x < count && tokens[base + threadIdx.x] == token;
    matches[threadIdx.x] = isMatch;
    if (!anyInBlock(isMatch)) continue;
    for (unsigned index = 0; index < blockDim.x; index++) {
      if (!matches[index]) continue;
      const auto* const from = gradient + (base + index) * columns;
      forEachVector<kVector<Format>>(columns, aligned, threadIdx.x, blockDim.x, [&](auto width, std::uint64_t at) {
        float values[decltype(width)::value], sum[decltype(width)::value];
        load<Format>(from + at, values);
        load<F32>(sums + at, sum);
#pragma unroll
        for (int column = 0; column < decltype(width)::value; column++) sum[column] += values[column];
        store<F32>(sums + at, sum);
      });
    }
    syncBlock();  // before the matches of the next ones
  }
}

constexpr unsigned kBlockElements = kBlockThreads * 8;

/** That a grid can have a block for each row. */
muster_code checkRows(std::uint64_t rows) {
  if (rows < (std::uint64_t{1} << 31)) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%llu rows are more than the 2^31 - 1 that a call can take", static_cast<unsigned long long>(rows));
}

bool rowsAreAligned(std::uint64_t columns, muster_dtype dtype) { return columns * muster::elementBytes(dtype) % 16 == 0; }

}  // namespace
}  // namespace muster::cuda

using namespace muster::cuda;

muster_code muster_cuda_combine(muster_pairwise operation, const muster_tensor* first, const muster_tensor* second, const muster_tensor* result, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkCombine(operation, *first, *second, *result); code != MUSTER_OK) return code;
  if (first->elements == 0) return MUSTER_OK;
  return withTrainingFormat(first->dtype, [&](auto kind) {
    using Element = typename decltype(kind)::Element;
    return launch(combineKernel<decltype(kind)>, blocksFor(first->elements, kBlockElements), kBlockThreads, 0, stream, operation, static_cast<const Element*>(first->data),
                  static_cast<const Element*>(second->data), static_cast<Element*>(result->data), first->elements, areAligned(first->data, second->data, result->data));
  });
}

muster_code muster_cuda_activate(muster_activation activation, const muster_tensor* input, const muster_tensor* result, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkActivate(activation, *input, *result); code != MUSTER_OK) return code;
  if (input->elements == 0) return MUSTER_OK;
  return withTrainingFormat(input->dtype, [&](auto kind) {
    using Element = typename decltype(kind)::Element;
    return launch(activateKernel<decltype(kind)>, blocksFor(input->elements, kBlockElements), kBlockThreads, 0, stream, activation, static_cast<const Element*>(input->data),
                  static_cast<Element*>(result->data), input->elements, areAligned(input->data, result->data));
  });
}

muster_code muster_cuda_activate_backward(muster_activation activation, const muster_tensor* input, const muster_tensor* gradient, const muster_tensor* result, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkActivateBackward(activation, *input, *gradient, *result); code != MUSTER_OK) return code;
  if (input->elements == 0) return MUSTER_OK;
  return withTrainingFormat(input->dtype, [&](auto kind) {
    using Element = typename decltype(kind)::Element;
    return launch(activateBackwardKernel<decltype(kind)>, blocksFor(input->elements, kBlockElements), kBlockThreads, 0, stream, activation, static_cast<const Element*>(input->data),
                  static_cast<const Element*>(gradient->data), static_cast<Element*>(result->data), input->elements, areAligned(input->data, gradient->data, result->data));
  });
}

muster_code muster_cuda_summarize(muster_reduction_kind kind, const muster_tensor* input, double* result, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkSummarize(kind, *input); code != MUSTER_OK) return code;
  if (result == nullptr || !(reinterpret_cast<std::uintptr_t>(result) % 8 == 0)) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "the result has no memory, or its address is not a multiple of 8 bytes");
  constexpr unsigned blocksMax = 1024;  // a constant: sums must not depend on the device
  const std::uint64_t wanted = (input->elements + kBlockElements - 1) / kBlockElements;
  const auto blocks = static_cast<unsigned>(wanted < blocksMax ? wanted : blocksMax);
  StreamMemory memory(stream);
  if (const muster_code code = memory.reserve((blocks + 1) * sizeof(double)); code != MUSTER_OK) return code;
  auto* const parts = static_cast<double*>(memory.data());
  if (blocks > 0) {
    const muster_code code = withTrainingFormat(input->dtype, [&](auto dtype) {
      using Element = typename decltype(dtype)::Element;
      return launch(summarizeKernel<decltype(dtype)>, blocks, kBlockThreads, 0, stream, kind, static_cast<const Element*>(input->data), input->elements, areAligned(input->data), parts);
    });
    if (code != MUSTER_OK) return code;
  }
  return launch(summarizePartsKernel, 1, kBlockThreads, 0, stream, kind, static_cast<const double*>(parts), blocks, result);
}

muster_code muster_cuda_embedding(const muster_tensor* table, uint64_t columns, const int32_t* tokens, const muster_tensor* result, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkEmbedding(*table, columns, *result); code != MUSTER_OK) return code;
  const std::uint64_t rows = result->elements / columns;
  if (const muster_code code = checkRows(rows); code != MUSTER_OK) return code;
  if (rows == 0) return MUSTER_OK;
  if (table->elements == 0) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "the table has no rows, and %llu are wanted", static_cast<unsigned long long>(rows));
  return withTrainingFormat(table->dtype, [&](auto kind) {
    using Element = typename decltype(kind)::Element;
    return launch(embeddingKernel<decltype(kind)>, static_cast<unsigned>(rows), kBlockThreads, 0, stream, static_cast<const Element*>(table->data), table->elements / columns, columns, tokens,
                  static_cast<Element*>(result->data), areAligned(table->data, result->data) && rowsAreAligned(columns, table->dtype));
  });
}

muster_code muster_cuda_embedding_backward(const muster_tensor* gradient, uint64_t columns, const int32_t* tokens, const muster_tensor* table_gradient, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkEmbeddingBackward(*gradient, columns, *table_gradient); code != MUSTER_OK) return code;
  const std::uint64_t rows = gradient->elements / columns;
  if (const muster_code code = checkRows(rows); code != MUSTER_OK) return code;
  if (rows == 0) return MUSTER_OK;
  return withTrainingFormat(gradient->dtype, [&](auto kind) {
    using Element = typename decltype(kind)::Element;
    return launch(embeddingBackwardKernel<decltype(kind)>, static_cast<unsigned>(rows), kBlockThreads, 0, stream, static_cast<const Element*>(gradient->data), rows, columns, tokens,
                  static_cast<float*>(table_gradient->data), table_gradient->elements / columns, areAligned(gradient->data, table_gradient->data) && rowsAreAligned(columns, gradient->dtype));
  });
}
