/** Attention without the matrix of its scores in memory, forward and backward. */
#ifndef MUSTER_ATTENTION_H
#define MUSTER_ATTENTION_H

#include "muster/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Vectors of several heads: number i of vector `row` of head h of batch b lies at b * batch_stride + h * head_stride + row * row_stride + i. Queries, keys and
 * values may so be parts of one tensor, whose extent `tensor` is. Strides are elements.
 */
typedef struct muster_heads {
  muster_tensor tensor;
  uint64_t batch_stride;
  uint64_t head_stride;
  uint64_t row_stride;
} muster_heads;

typedef struct muster_attention_shape {
  uint64_t batches;
  uint64_t heads;
  /** Rows of queries and results. */
  uint64_t queries;
  /** Rows of keys and values. */
  uint64_t keys;
  /** Numbers in each vector. */
  uint64_t width;
  /** Of the products of queries and keys: 1 / sqrt(width) as a rule. */
  float scale;
  /** 1: query i sees the keys up to i + keys - queries, and there are no fewer keys than queries. 0: all. */
  int causal;
} muster_attention_shape;

typedef struct muster_attention_call {
  muster_attention_shape shape;
  /** f32, f16 or bf16; all of one dtype. What is written overlaps nothing. */
  muster_heads query;
  muster_heads key;
  muster_heads value;
  muster_heads result;
  /** f32, batches x heads x queries: the logarithm of the sum of each query's exponentials, which the backward pass reads. */
  muster_tensor log_sums;
} muster_attention_call;

/**
 * result = softmax(scale * query * key^T) * value for each head, as torch.nn.functional.scaled_dot_product_attention. Scores, sums and results are made in f32; a GPU
 * rounds the exponentials of 16-bit vectors to the dtype before they meet the values.
 */
muster_code muster_attention(const muster_attention_call* call, uint32_t threads);

typedef struct muster_attention_backward_call {
  muster_attention_shape shape;
  muster_heads query;
  muster_heads key;
  muster_heads value;
  muster_heads result;
  muster_tensor log_sums;
  /** Of the result. */
  muster_heads gradient;
  muster_heads query_gradient;
  muster_heads key_gradient;
  muster_heads value_gradient;
} muster_attention_backward_call;

muster_code muster_attention_backward(const muster_attention_backward_call* call, uint32_t threads);

#ifdef __cplusplus
}
#endif
#endif
