/**
 * What a transformer's forward and backward passes need beside matrix products. Activations and their gradients are f32, f16 or bf16, one dtype in a
 * call; parameters, their gradients and statistics are f32, and so is the arithmetic. Matrices of `rows` x `columns` lie row by row.
 * A result may be the memory of an input of the same dtype and size: it is computed in place. Else nothing that is written overlaps anything.
 */
#ifndef MUSTER_LAYERS_H
#define MUSTER_LAYERS_H

#include "muster/gemm.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum muster_pairwise {
  MUSTER_ADD = 0,
  MUSTER_MULTIPLY = 1
} muster_pairwise;

/** result = first + second, or first * second, number by number. */
muster_code muster_combine(muster_pairwise operation, const muster_tensor* first, const muster_tensor* second, const muster_tensor* result, uint32_t threads);

/** result = activation(input), number by number. */
muster_code muster_activate(muster_activation activation, const muster_tensor* input, const muster_tensor* result, uint32_t threads);

/** result = gradient * activation'(input). ReLU's slope at 0 is 0. */
muster_code muster_activate_backward(muster_activation activation, const muster_tensor* input, const muster_tensor* gradient, const muster_tensor* result, uint32_t threads);

/** Each row's softmax. A row of nothing but -infinity becomes NaN, as in PyTorch. */
muster_code muster_softmax(const muster_tensor* input, uint64_t columns, const muster_tensor* result, uint32_t threads);

/** result = output * (gradient - sum(output * gradient)), row by row: the gradient of the softmax's input, from its output. */
muster_code muster_softmax_backward(const muster_tensor* output, const muster_tensor* gradient, uint64_t columns, const muster_tensor* result, uint32_t threads);

typedef struct muster_layer_norm_call {
  uint64_t columns;
  double epsilon;
  muster_tensor input;
  /** f32, a number for each column. */
  muster_tensor weight;
  muster_tensor bias;
  muster_tensor result;
  /** f32, a number for each row: the mean, and 1 / sqrt(variance + epsilon). */
  muster_tensor mean;
  muster_tensor scale;
} muster_layer_norm_call;

/** result = (input - mean) * scale * weight + bias, row by row; writes result, mean and scale. */
muster_code muster_layer_norm(const muster_layer_norm_call* call, uint32_t threads);

typedef struct muster_layer_norm_backward_call {
  uint64_t columns;
  muster_tensor input;
  muster_tensor weight;
  muster_tensor mean;
  muster_tensor scale;
  /** Of the result. */
  muster_tensor gradient;
  muster_tensor input_gradient;
  /** f32; the call adds to them. */
  muster_tensor weight_gradient;
  muster_tensor bias_gradient;
} muster_layer_norm_backward_call;

muster_code muster_layer_norm_backward(const muster_layer_norm_backward_call* call, uint32_t threads);

typedef struct muster_cross_entropy_call {
  uint64_t columns;
  muster_tensor logits;
  /** For each row the column that is right, or -1: the row does not count. */
  const int32_t* targets;
  /** f32, for each row: -log(softmax(logits)[target]), 0 where it does not count. */
  muster_tensor losses;
  /** Of the logits: (softmax(logits) - one at the target) * gradient_scale, zeros where a row does not count. Without elements: not wanted. */
  muster_tensor gradient;
  float gradient_scale;
} muster_cross_entropy_call;

/** The loss and its gradient in one go: softmax is never stored. */
muster_code muster_cross_entropy(const muster_cross_entropy_call* call, uint32_t threads);

typedef enum muster_reduction_kind {
  MUSTER_TOTAL = 0,
  MUSTER_LARGEST = 1
} muster_reduction_kind;

/** The total, summed in f64, or the largest number; of nothing 0 and -infinity. A NaN makes both NaN. The same bits with any number of threads. */
muster_code muster_summarize(muster_reduction_kind kind, const muster_tensor* input, uint32_t threads, double* result);

/** Row i of the result is row tokens[i] of the table, which has `columns` columns and the result's dtype. */
muster_code muster_embedding(const muster_tensor* table, uint64_t columns, const int32_t* tokens, const muster_tensor* result, uint32_t threads);

/** Adds row i of the gradient to row tokens[i] of the table's gradient (f32), in the order of i. */
muster_code muster_embedding_backward(const muster_tensor* gradient, uint64_t columns, const int32_t* tokens, const muster_tensor* table_gradient, uint32_t threads);

#ifdef __cplusplus
}
#endif
#endif
