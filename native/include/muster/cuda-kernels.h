/**
 * The kernels of convert.h, gradients.h, optimizer.h, layers.h, gemm.h, strided.h, convolution.h and attention.h on a GPU: the same calls with a stream in place of threads, and tensors, targets,
 * tokens and results in device memory. Those headers say what each computes; here is only what differs. Lists, calls and options are read
 * before the call returns.
 *
 * Conversions, SGD, Adam and whatever else is computed number by number without exp, tanh or erf give the same bits as on the CPU. Sums are made in
 * an order that depends on the sizes alone, so that a call gives the same bits every time; there are no atomics on numbers.
 *
 * Tensors whose address is a multiple of 16 bytes (rows too, where there are rows) move in accesses of 16 bytes; others element by element, several times slower.
 * Bytes of device memory for each element of b bytes, which decide how long all of these but products take: convert 4 + b; unscale 2b, clip 3b;
 * SGD with momentum and a 16-bit gradient and copy 20, Adam 28; combine 3b, activate 2b, backward 3b; softmax 2b, backward 3b; layer norm 2b, backward 5b;
 * cross-entropy 2b with a gradient; embedding 2b, backward b + 8. Rows beyond what the caches hold are read twice (softmax) or three times (layer norm).
 */
#ifndef MUSTER_CUDA_KERNELS_H
#define MUSTER_CUDA_KERNELS_H

#include "muster/attention.h"
#include "muster/convert.h"
#include "muster/convolution.h"
#include "muster/cuda.h"
#include "muster/gradients.h"
#include "muster/layers.h"
#include "muster/optimizer.h"
#include "muster/strided.h"

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

muster_code muster_cuda_convert(const muster_tensor* source, const muster_tensor* target, muster_cuda_stream stream);

/**
 * Dynamic loss scaling by PyTorch's rules, in device memory: no step waits for the host to look at it. Copy one with the initial scale there before
 * the first step, and back for a checkpoint.
 */
typedef struct muster_cuda_loss_scale {
  float scale;
  /** 1 if a gradient was infinite or NaN since the last update. Ranks reduce it with MUSTER_MAX. */
  float found_inf;
  /** Updates in a row without one. */
  uint32_t growth_tracker;
  uint32_t reserved;
  /** Updates without one in all: how many steps the optimizers have really made. */
  uint64_t steps;
} muster_cuda_loss_scale;

typedef struct muster_cuda_loss_scale_options {
  /** Above 1. */
  float growth_factor;
  /** Between 0 and 1. */
  float backoff_factor;
  /** Above 0. */
  uint32_t growth_interval;
} muster_cuda_loss_scale_options;

/** Ends an iteration: after an infinity the scale shrinks, after growth_interval iterations without it grows if that is finite; found_inf becomes 0. */
muster_code muster_cuda_loss_scale_update(muster_cuda_loss_scale* state, const muster_cuda_loss_scale_options* options, muster_cuda_stream stream);

/** By the scale of `state`, in device memory, whose found_inf is set. */
muster_code muster_cuda_unscale(const muster_tensor* gradients, uint64_t count, muster_cuda_loss_scale* state, muster_cuda_stream stream);
/** `norm` is in device memory, aligned to 8 bytes. */
muster_code muster_cuda_gradient_norm(const muster_tensor* gradients, uint64_t count, double* norm, muster_cuda_stream stream);
muster_code muster_cuda_clip_gradients(const muster_tensor* gradients, uint64_t count, double max_norm, double* norm, muster_cuda_stream stream);

/**
 * With a `state` the step is not made if its found_inf is set, and Adam's step is state->steps + 1: the options' step is not
 * looked at. Call muster_cuda_loss_scale_update after all optimizers. Null: as on the CPU.
 */
muster_code muster_cuda_sgd(const muster_sgd_parameter* parameters, uint64_t count, const muster_sgd_options* options, const muster_cuda_loss_scale* state, muster_cuda_stream stream);
muster_code muster_cuda_adam(const muster_adam_parameter* parameters, uint64_t count, const muster_adam_options* options, const muster_cuda_loss_scale* state, muster_cuda_stream stream);

muster_code muster_cuda_combine(muster_pairwise operation, const muster_tensor* first, const muster_tensor* second, const muster_tensor* result, muster_cuda_stream stream);
muster_code muster_cuda_activate(muster_activation activation, const muster_tensor* input, const muster_tensor* result, muster_cuda_stream stream);
muster_code muster_cuda_activate_backward(muster_activation activation, const muster_tensor* input, const muster_tensor* gradient, const muster_tensor* result, muster_cuda_stream stream);
/** `result` is in device memory, aligned to 8 bytes. */
muster_code muster_cuda_summarize(muster_reduction_kind kind, const muster_tensor* input, double* result, muster_cuda_stream stream);

muster_code muster_cuda_softmax(const muster_tensor* input, uint64_t columns, const muster_tensor* result, muster_cuda_stream stream);
muster_code muster_cuda_softmax_backward(const muster_tensor* output, const muster_tensor* gradient, uint64_t columns, const muster_tensor* result, muster_cuda_stream stream);
muster_code muster_cuda_layer_norm(const muster_layer_norm_call* call, muster_cuda_stream stream);
muster_code muster_cuda_layer_norm_backward(const muster_layer_norm_backward_call* call, muster_cuda_stream stream);

/** A target outside the columns that is not -1 makes the row's loss and gradient NaN: the host cannot look at it without waiting. */
muster_code muster_cuda_cross_entropy(const muster_cross_entropy_call* call, muster_cuda_stream stream);

/** A token outside the table makes its row NaN. */
muster_code muster_cuda_embedding(const muster_tensor* table, uint64_t columns, const int32_t* tokens, const muster_tensor* result, muster_cuda_stream stream);
/** Tokens outside the table are left out. Reads the list of tokens once for each token, from the caches. */
muster_code muster_cuda_embedding_backward(const muster_tensor* gradient, uint64_t columns, const int32_t* tokens, const muster_tensor* table_gradient, muster_cuda_stream stream);

/** How a matrix product is computed. */
typedef enum muster_cuda_gemm_algorithm {
  /** cublasLt where it is there and takes the call, else the first of the following from the end that does. */
  MUSTER_CUDA_GEMM_BEST = 0,
  /** f32 multiply-adds: any format and any strides. */
  MUSTER_CUDA_GEMM_SIMT = 1,
  /** mma.sync m16n8k16: f16 and bf16, any strides. */
  MUSTER_CUDA_GEMM_MMA = 2,
  /** wgmma fed by the tensor memory accelerator: Hopper; f16 and bf16; depth contiguous in both inputs; addresses and the other strides multiples of 16 bytes. */
  MUSTER_CUDA_GEMM_WGMMA = 3,
  /** libcublasLt.so.13 or .12, found at run time. A bias wants an f32 result; GELU_ERF and SiLU are not taken. */
  MUSTER_CUDA_GEMM_CUBLASLT = 4
} muster_cuda_gemm_algorithm;

/** Fails with MUSTER_UNAVAILABLE when an algorithm other than the best does not take the call or is not there. 16-bit products are exact, and summed in f32. */
muster_code muster_cuda_gemm(const muster_gemm_call* call, muster_cuda_gemm_algorithm algorithm, muster_cuda_stream stream);

/** The algorithm that `MUSTER_CUDA_GEMM_BEST` takes for a call on this thread's device. */
muster_code muster_cuda_gemm_choose(const muster_gemm_call* call, muster_cuda_gemm_algorithm* algorithm);

muster_code muster_cuda_map(const muster_map_call* call, muster_cuda_stream stream);
muster_code muster_cuda_reduce(const muster_reduce_call* call, muster_cuda_stream stream);
/** An index outside its dimension picks NaN, or of integers 0: the host cannot look at it without waiting. */
muster_code muster_cuda_gather(const muster_index_call* call, muster_cuda_stream stream);
/** What has an index outside its dimension is left out. */
muster_code muster_cuda_scatter_add(const muster_index_call* call, muster_cuda_stream stream);
/** The CPU's numbers; of the normal distribution but for their last place. */
muster_code muster_cuda_random(const muster_random_call* call, muster_cuda_stream stream);

muster_code muster_cuda_convolve(const muster_convolution* shape, const muster_tensor* input, const muster_tensor* weight, const muster_tensor* bias, const muster_tensor* result, muster_cuda_stream stream);
muster_code muster_cuda_convolve_backward_input(const muster_convolution* shape, const muster_tensor* gradient, const muster_tensor* weight, const muster_tensor* input_gradient, muster_cuda_stream stream);
muster_code muster_cuda_convolve_backward_weight(const muster_convolution* shape, const muster_tensor* input, const muster_tensor* gradient, const muster_tensor* weight_gradient,
                                                 const muster_tensor* bias_gradient, muster_cuda_stream stream);
muster_code muster_cuda_pool(const muster_images* shape, muster_pooling pooling, const muster_tensor* input, const muster_tensor* result, int32_t* places, muster_cuda_stream stream);
/** A place outside the image has no gradient. */
muster_code muster_cuda_pool_backward(const muster_images* shape, muster_pooling pooling, const muster_tensor* gradient, const int32_t* places, const muster_tensor* input_gradient, muster_cuda_stream stream);

/** Vectors have at most 3072 numbers. */
muster_code muster_cuda_attention(const muster_attention_call* call, muster_cuda_stream stream);
muster_code muster_cuda_attention_backward(const muster_attention_backward_call* call, muster_cuda_stream stream);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
#endif
