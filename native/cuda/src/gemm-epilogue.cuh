/** The end of a matrix product: alpha, the old result, bias, activation and rounding, the same in all kernels. */
#pragma once

#include "formats.cuh"
#include "gemm.h"
#include "kernels/activation.h"

namespace muster::cuda {

/** Whether pairs of neighbouring columns, of which the first is even, lie in words of their size. */
template <class Format>
__device__ __forceinline__ bool arePairsAligned(const Product& product) {
  const unsigned size = product.isResultF32 ? 8 : 4;
  return reinterpret_cast<std::uintptr_t>(product.result) % size == 0 && product.resultRowStride % 2 == 0 && product.resultBatchStride % 2 == 0;
}

/** A number of the result, before it is rounded. */
template <class Result>
__device__ __forceinline__ float finish(const Product& product, const typename Result::Element* old, std::uint64_t column, float sum) {
  float value = product.alpha * sum;
  if (product.beta != 0) {
    float before[1];
    load<Result>(old, before);
    value += product.beta * before[0];
  }
  if (product.bias != nullptr) value += product.bias[column];
  return kernels::reference::activate(product.activation, value);
}

/** Two neighbouring columns, of which the first is inside the result. */
template <class Result>
__device__ __forceinline__ void finishPair(const Product& product, bool arePairs, std::uint64_t at, std::uint64_t column, float first, float second) {
  auto* const to = static_cast<typename Result::Element*>(product.result) + at;
  const bool hasSecond = column + 1 < product.columns;
  const float one = finish<Result>(product, to, column, first);
  const float other = hasSecond ? finish<Result>(product, to + 1, column + 1, second) : 0;
  if (arePairs && hasSecond) {
    if constexpr (Result::kDtype == MUSTER_F32) {
      *reinterpret_cast<uint2*>(to) = {bitsOf(one), bitsOf(other)};
    } else {
      *reinterpret_cast<std::uint32_t*>(to) = static_cast<std::uint32_t>(narrow<Result>(one)) | static_cast<std::uint32_t>(narrow<Result>(other)) << 16;
    }
    return;
  }
  store<Result>(to, {one});
  if (hasSecond) store<Result>(to + 1, {other});
}

/** Floats from a row of a tile of sums to the next: the stores of a warp, 8 rows of 8 sums, fall into different banks. */
template <unsigned columns>
inline constexpr unsigned kSumsPitch = columns + 8;
template <unsigned rows, unsigned columns>
inline constexpr std::size_t kSumsBytes = rows * kSumsPitch<columns> * sizeof(float);

/**
 * Ends a tile whose sums lie in shared memory, by `threads` threads of which this is number `thread`. One loop of pairs instead of code for each register: activations
 * are long, and neighbouring threads write neighbouring pairs.
 */
template <class Format, unsigned rows, unsigned columns>
__device__ __forceinline__ void finishTile(const Product& product, std::uint64_t batch, std::uint64_t firstRow, std::uint64_t firstColumn, const float* sums, unsigned thread, unsigned threads) {
  const bool arePairs = arePairsAligned<Format>(product);
#pragma unroll 1
  for (unsigned pair = thread; pair < rows * columns / 2; pair += threads) {
    const unsigned tileRow = pair / (columns / 2);
    const unsigned tileColumn = pair % (columns / 2) * 2;
    const std::uint64_t row = firstRow + tileRow;
    const std::uint64_t column = firstColumn + tileColumn;
    if (row >= product.rows || column >= product.columns) continue;
    const float* const from = sums + tileRow * kSumsPitch<columns> + tileColumn;
    const std::uint64_t at = batch * product.resultBatchStride + row * product.resultRowStride + column;
    if (product.isResultF32) {
      finishPair<F32>(product, arePairs, at, column, from[0], from[1]);
    } else if constexpr (Format::kDtype != MUSTER_F32) {
      finishPair<Format>(product, arePairs, at, column, from[0], from[1]);
    }
  }
}

}  // namespace muster::cuda
