/** Sums and maxima over the threads of a warp or a block: every thread gets the result, and the order depends on the number of threads alone. */
#pragma once

#include "simt.cuh"

namespace muster::cuda {

template <class Number, class Combine>
__device__ __forceinline__ Number reduceWarp(Number value, Combine combine) {
#pragma unroll
  for (unsigned mask = kWarp / 2; mask > 0; mask /= 2) value = combine(value, shuffleXor(value, mask));
  return value;
}

/** For one-dimensional blocks of whole warps, called by all of their threads. */
template <class Number, class Combine>
__device__ __forceinline__ Number reduceBlock(Number value, Number identity, Combine combine) {
  __shared__ Number parts[kWarp];
  const unsigned lane = threadIdx.x % kWarp;
  value = reduceWarp(value, combine);
  syncBlock();  // the last reduction's parts have been read
  if (lane == 0) parts[threadIdx.x / kWarp] = value;
  syncBlock();
  return reduceWarp(lane < blockDim.x / kWarp ? parts[lane] : identity, combine);
}

struct Add {
  template <class Number>
  __device__ __forceinline__ Number operator()(Number a, Number b) const {
    return a + b;
  }
};

/** NaN wins. */
struct Larger {
  template <class Number>
  __device__ __forceinline__ Number operator()(Number a, Number b) const {
    return a > b || a != a ? a : b;
  }
};

}  // namespace muster::cuda
