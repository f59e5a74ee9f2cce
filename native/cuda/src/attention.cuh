/** What the two ways of attention share: where vectors lie, what a query sees, and the arguments of their kernels. */
#pragma once

#include "launch.h"
#include "muster/attention.h"
#include "strided.cuh"

namespace muster::cuda {

template <class Format>
struct Vectors {
  typename Format::Element* data;
  std::uint64_t batchStride, headStride, rowStride;

  /** Of one head. */
  __device__ __forceinline__ typename Format::Element* row(const muster_attention_shape& shape, std::uint64_t head, std::uint64_t row) const {
    return data + head / shape.heads * batchStride + head % shape.heads * headStride + row * rowStride;
  }
};

template <class Format>
Vectors<Format> vectorsOf(const muster_heads& heads) {
  return {static_cast<typename Format::Element*>(heads.tensor.data), heads.batch_stride, heads.head_stride, heads.row_stride};
}

__device__ __forceinline__ std::uint64_t visibleKeys(const muster_attention_shape& shape, std::uint64_t query) { return shape.causal != 0 ? query + 1 + (shape.keys - shape.queries) : shape.keys; }

/** The first query that sees a key. */
__device__ __forceinline__ std::uint64_t firstQueryThatSees(const muster_attention_shape& shape, std::uint64_t key) {
  return shape.causal != 0 && key + shape.queries > shape.keys ? key + shape.queries - shape.keys : 0;
}

template <class Format>
__device__ __forceinline__ float numberAt(const typename Format::Element* row, std::uint64_t index) {
  float one[1];
  load<Format>(row + index, one);
  return one[0];
}

template <class Format>
struct Attention {
  muster_attention_shape shape;
  Vectors<Format> query, key, value, result;
  float* logSums;
};

template <class Format>
Attention<Format> attentionOf(const muster_attention_call& call) {
  return {call.shape, vectorsOf<Format>(call.query), vectorsOf<Format>(call.key), vectorsOf<Format>(call.value), vectorsOf<Format>(call.result), static_cast<float*>(call.log_sums.data)};
}

template <class Format>
struct AttentionBackward {
  muster_attention_shape shape;
  Vectors<Format> query, key, value, result, gradient, queryGradient, keyGradient, valueGradient;
  const float* logSums;
  /** Of each query: the product of its result and gradient, which the kernel of queries writes for that of keys. */
  float* products;
};

template <class Format>
AttentionBackward<Format> attentionOf(const muster_attention_backward_call& call, float* products) {
  const auto vectors = [](const muster_heads& of) { return vectorsOf<Format>(of); };
  return {call.shape, vectors(call.query), vectors(call.key), vectors(call.value), vectors(call.result), vectors(call.gradient), vectors(call.query_gradient),
          vectors(call.key_gradient), vectors(call.value_gradient), static_cast<const float*>(call.log_sums.data), products};
}

/** Whether the tensor cores' way takes the call: 16 bits, vectors of at most 128 numbers that lie in 16 bytes each. */
bool mmaAttentionTakes(const muster_attention_call& call);
bool mmaAttentionTakes(const muster_attention_backward_call& call);

muster_code mmaAttention(const muster_attention_call& call, cudaStream_t stream);
/** @param products batches x heads x queries */
muster_code mmaAttention(const muster_attention_backward_call& call, float* products, cudaStream_t stream);

}  // namespace muster::cuda
