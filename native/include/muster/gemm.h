/** Matrix products. */
#ifndef MUSTER_GEMM_H
#define MUSTER_GEMM_H

#include "muster/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A batch of matrices in memory: element (row, column) of matrix b lies at b * batch_stride + row * row_stride + column * column_stride.
 * A transpose is the same memory with its two strides swapped; a stride of 0 repeats. Strides are elements.
 */
typedef struct muster_matrices {
  muster_tensor tensor;
  uint64_t row_stride;
  uint64_t column_stride;
  uint64_t batch_stride;
} muster_matrices;

typedef enum muster_activation {
  MUSTER_IDENTITY = 0,
  MUSTER_RELU = 1,
  /** x / 2 * (1 + erf(x / sqrt(2))) */
  MUSTER_GELU_ERF = 2,
  /** x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) */
  MUSTER_GELU_TANH = 3,
  /** x / (1 + exp(-x)) */
  MUSTER_SILU = 4
} muster_activation;

enum { MUSTER_ACTIVATIONS = 5 };

typedef struct muster_gemm_call {
  uint64_t batches;
  /** Of the result and of `left`. */
  uint64_t rows;
  /** Of the result and of `right`. */
  uint64_t columns;
  /** Columns of `left`, rows of `right`. 0 is allowed: the products are zeros. */
  uint64_t depth;
  /** f32, f16 or bf16. */
  muster_matrices left;
  /** Of left's dtype. */
  muster_matrices right;
  /** f32, or left's dtype. Rows lie in one piece (column_stride 1) and overlap neither each other nor the inputs. */
  muster_matrices result;
  float alpha;
  /** 0: the old result is not read, and may be anything. */
  float beta;
  /** f32, one number for each column; without elements: none. */
  muster_tensor bias;
  muster_activation activation;
} muster_gemm_call;

/**
 * result = activation(alpha * left * right + beta * result + bias), for each matrix of the batch. Products are summed in f32, in an order that
 * depends on the processor (its instruction set and first cache) and not on the number of threads; 16-bit results are rounded once. With AVX512-BF16, products of bf16 take
 * denormal inputs for zero. Against the exact result, the error is at most depth * 2^-23 of the sum of the products' magnitudes, and the rounding of the result.
 */
muster_code muster_gemm(const muster_gemm_call* call, uint32_t threads);

#ifdef __cplusplus
}
#endif
#endif
