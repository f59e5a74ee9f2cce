/**
 * Attention without its matrix of scores, in f32 and for vectors that attention-mma.cu does not take. A warp for each query goes through the keys that it sees, with the exponentials against
 * the largest score so far, by which what was summed before is corrected; backward a warp for each query makes the query's gradient, and then one for each key those of key and value, which
 * computes the shares again: no atomics.
 * 4 FLOPs for each visible score and number of a vector forward, 14 backward. Keys and values are read once for each query, from the second cache where a head fits it.
 * CPU reference: src/kernels/attention.cc.
 */
#include "attention.cuh"
#include "kernels/layer-calls.h"
#include "muster/cuda-kernels.h"
#include "reduce.cuh"

namespace muster::cuda {
namespace {

/** Warps of a block: each has vectors of its own in shared memory. */
constexpr unsigned kWarps = 4;
/** Shared memory that every device has without being asked. */
constexpr std::uint64_t kSharedBytes = 48 * 1024;

/** What a warp of the grid works for: one row of all heads', each of which has `rows`. With `vectors` of the shape's width in shared memory. */
template <unsigned vectors>
struct WarpWork {
  /** The row among those of all heads. */
  std::uint64_t unit;
  std::uint64_t head, row;
  /** Whether there is such a row: the last block may have warps without. */
  bool exists;
  float* vector[vectors];

  __device__ __forceinline__ WarpWork(const muster_attention_shape& shape, std::uint64_t rows) {
    unit = std::uint64_t{blockIdx.x} * (blockDim.x / kWarp) + threadIdx.x / kWarp;
    head = unit / rows;
    row = unit % rows;
    exists = unit < shape.batches * shape.heads * rows;
    float* const own = reinterpret_cast<float*>(dynamicShared()) + threadIdx.x / kWarp * vectors * shape.width;
#pragma unroll
    for (unsigned index = 0; index < vectors; index++) vector[index] = own + index * shape.width;
  }
};

/** Calls body(index) for the numbers of a vector that are this lane's. */
template <class Body>
__device__ __forceinline__ void forEachOwn(const muster_attention_shape& shape, Body body) {
  for (std::uint64_t index = threadIdx.x % kWarp; index < shape.width; index += kWarp) body(index);
}

/** Of a vector in shared memory, each number of which its lane has written, and a row. All lanes get it. */
template <class Format>
__device__ __forceinline__ float productOf(const muster_attention_shape& shape, const float* vector, const typename Format::Element* row) {
  float sum = 0;
  forEachOwn(shape, [&](std::uint64_t index) { sum += vector[index] * numberAt<Format>(row, index); });
  return reduceWarp(sum, Add());
}

template <class Format>
__global__ void __launch_bounds__(kWarps * kWarp) attentionKernel(Attention<Format> call) {
  const muster_attention_shape& shape = call.shape;
  const WarpWork<2> work(shape, shape.queries);
  if (!work.exists) return;
  const std::uint64_t head = work.head, query = work.row;
  float* const own = work.vector[0];
  float* const sums = work.vector[1];
  const auto* const queryRow = call.query.row(shape, head, query);
  forEachOwn(shape, [&](std::uint64_t index) { own[index] = numberAt<Format>(queryRow, index), sums[index] = 0; });
  float largest = -floatOf(kInfinity);
  float total = 0;
  for (std::uint64_t key = 0; key < visibleKeys(shape, query); key++) {
    const float score = productOf<Format>(shape, own, call.key.row(shape, head, key)) * shape.scale;
    const float most = Larger()(largest, score);
    const float correction = largest == most ? 1 : expf(largest - most);
    const float power = expf(score - most);
    total = total * correction + power;
    largest = most;
    const auto* const valueRow = call.value.row(shape, head, key);
    forEachOwn(shape, [&](std::uint64_t index) { sums[index] = sums[index] * correction + power * numberAt<Format>(valueRow, index); });
  }
  auto* const to = call.result.row(shape, head, query);
  forEachOwn(shape, [&](std::uint64_t index) { store<Format>(to + index, {sums[index] / total}); });
  if (threadIdx.x % kWarp == 0) call.logSums[work.unit] = largest + logf(total);
}

template <class Format>
__global__ void __launch_bounds__(kWarps * kWarp) queryGradientKernel(AttentionBackward<Format> call) {
  const muster_attention_shape& shape = call.shape;
  const WarpWork<3> work(shape, shape.queries);
  if (!work.exists) return;
  const std::uint64_t head = work.head, query = work.row;
  float* const own = work.vector[0];
  float* const upper = work.vector[1];
  float* const sums = work.vector[2];
  const auto* const queryRow = call.query.row(shape, head, query);
  const auto* const upperRow = call.gradient.row(shape, head, query);
  forEachOwn(shape, [&](std::uint64_t index) { own[index] = numberAt<Format>(queryRow, index), upper[index] = numberAt<Format>(upperRow, index), sums[index] = 0; });
  const float product = productOf<Format>(shape, upper, call.result.row(shape, head, query));
  for (std::uint64_t key = 0; key < visibleKeys(shape, query); key++) {
    const auto* const keyRow = call.key.row(shape, head, key);
    const float share = expf(productOf<Format>(shape, own, keyRow) * shape.scale - call.logSums[work.unit]);
    const float slope = share * (productOf<Format>(shape, upper, call.value.row(shape, head, key)) - product) * shape.scale;
    forEachOwn(shape, [&](std::uint64_t index) { sums[index] += slope * numberAt<Format>(keyRow, index); });
  }
  auto* const to = call.queryGradient.row(shape, head, query);
  forEachOwn(shape, [&](std::uint64_t index) { store<Format>(to + index, {sums[index]}); });
  if (threadIdx.x % kWarp == 0) call.products[work.unit] = product;
}

template <class Format>
__global__ void __launch_bounds__(kWarps * kWarp) keyGradientKernel(AttentionBackward<Format> call) {
  const muster_attention_shape& shape = call.shape;
  const WarpWork<4> work(shape, shape.keys);
  if (!work.exists) return;
  const std::uint64_t head = work.head, key = work.row;
  float* const own = work.vector[0];
  float* const value = work.vector[1];
  float* const keySums = work.vector[2];
  float* const valueSums = work.vector[3];
  const auto* const keyRow = call.key.row(shape, head, key);
  const auto* const valueRow = call.value.row(shape, head, key);
  forEachOwn(shape, [&](std::uint64_t index) { own[index] = numberAt<Format>(keyRow, index), value[index] = numberAt<Format>(valueRow, index), keySums[index] = valueSums[index] = 0; });
  for (std::uint64_t query = firstQueryThatSees(shape, key); query < shape.queries; query++) {
    const std::uint64_t row = head * shape.queries + query;
    const auto* const queryRow = call.query.row(shape, head, query);
    const auto* const upperRow = call.gradient.row(shape, head, query);
    const float share = expf(productOf<Format>(shape, own, queryRow) * shape.scale - call.logSums[row]);
    const float slope = share * (productOf<Format>(shape, value, upperRow) - call.products[row]) * shape.scale;
    forEachOwn(shape, [&](std::uint64_t index) { keySums[index] += slope * numberAt<Format>(queryRow, index), valueSums[index] += share * numberAt<Format>(upperRow, index); });
  }
  auto* const toKey = call.keyGradient.row(shape, head, key);
  auto* const toValue = call.valueGradient.row(shape, head, key);
  forEachOwn(shape, [&](std::uint64_t index) { store<Format>(toKey + index, {keySums[index]}), store<Format>(toValue + index, {valueSums[index]}); });
}

/** How a kernel with `vectors` of shared memory a warp is started for so many units. */
struct Launch {
  unsigned blocks;
  unsigned threads;
  std::size_t sharedBytes;
};

muster_code launchOf(const muster_attention_shape& shape, std::uint64_t units, unsigned vectors, Launch& launch) {
  const std::uint64_t warpBytes = vectors * shape.width * sizeof(float);
  const std::uint64_t warps = warpBytes == 0 ? kWarps : kSharedBytes / warpBytes < kWarps ? kSharedBytes / warpBytes : kWarps;
  if (warps == 0) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "vectors of %llu numbers are longer than attention on a GPU takes", static_cast<unsigned long long>(shape.width));
  const std::uint64_t blocks = (units + warps - 1) / warps;
  if (blocks >= std::uint64_t{1} << 31) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "attention of %llu vectors is more than a call can take", static_cast<unsigned long long>(units));
  launch = {static_cast<unsigned>(blocks), static_cast<unsigned>(warps) * kWarp, warps * warpBytes};
  return MUSTER_OK;
}

}  // namespace
}  // namespace muster::cuda

using namespace muster::cuda;

muster_code muster_cuda_attention(const muster_attention_call* call, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkAttention(*call); code != MUSTER_OK) return code;
  const std::uint64_t units = call->shape.batches * call->shape.heads * call->shape.queries;
  if (units == 0) return MUSTER_OK;
  if (mmaAttentionTakes(*call)) return mmaAttention(*call, stream);
  Launch size{};
  if (const muster_code code = launchOf(call->shape, units, 2, size); code != MUSTER_OK) return code;
  return withTrainingFormat(call->query.tensor.dtype, [&](auto kind) {
    using Format = decltype(kind);
    return launch(attentionKernel<Format>, size.blocks, size.threads, size.sharedBytes, stream, attentionOf<Format>(*call));
  });
}

muster_code muster_cuda_attention_backward(const muster_attention_backward_call* call, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkAttentionBackward(*call); code != MUSTER_OK) return code;
  const std::uint64_t heads = call->shape.batches * call->shape.heads;
  if (heads == 0) return MUSTER_OK;
  StreamMemory products(stream);
  if (const muster_code code = products.reserve((heads * call->shape.queries + 1) * sizeof(float)); code != MUSTER_OK) return code;
  if (mmaAttentionTakes(*call)) return mmaAttention(*call, static_cast<float*>(products.data()), stream);
  Launch queries{}, keys{};
  if (const muster_code code = launchOf(call->shape, heads * call->shape.queries, 3, queries); code != MUSTER_OK) return code;
  if (const muster_code code = launchOf(call->shape, heads * call->shape.keys, 4, keys); code != MUSTER_OK) return code;
  return withTrainingFormat(call->query.tensor.dtype, [&](auto kind) {
    using Format = decltype(kind);
    const AttentionBackward<Format> backward = attentionOf<Format>(*call, static_cast<float*>(products.data()));
    if (queries.blocks > 0) {
      if (const muster_code code = launch(queryGradientKernel<Format>, queries.blocks, queries.threads, queries.sharedBytes, stream, backward); code != MUSTER_OK) return code;
    }
    return launch(keyGradientKernel<Format>, keys.blocks, keys.threads, keys.sharedBytes, stream, backward);
  });
}
