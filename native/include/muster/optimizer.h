/**
 * Optimizers in mixed precision, over lists of parameters: f32 master weights and state, gradients in f32 or 16 bits, and a 16-bit copy of the weights
 * for the next forward pass, all in one pass over memory. Results are the same bits with every instruction set and number of threads.
 */
#ifndef MUSTER_OPTIMIZER_H
#define MUSTER_OPTIMIZER_H

#include "muster/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct muster_sgd_parameter {
  /** f32. */
  muster_tensor weights;
  /** f32, f16 or bf16; read only. */
  muster_tensor gradient;
  /** f32; without elements where the momentum is 0. */
  muster_tensor momentum;
  /** f16 or bf16: gets the rounded weights. Without elements: none is kept. */
  muster_tensor copy;
} muster_sgd_parameter;

typedef struct muster_sgd_options {
  double learning_rate;
  double momentum;
  double dampening;
  double weight_decay;
  /** Multiplies each gradient as it is read: 1 / loss scale, times the clipping factor. 1 for neither. */
  double gradient_factor;
  int nesterov;
  /** The first step fills the momentum with the gradient, undampened, as PyTorch does. */
  int first_step;
} muster_sgd_options;

/** One step of torch.optim.SGD. */
muster_code muster_sgd(const muster_sgd_parameter* parameters, uint64_t count, const muster_sgd_options* options, uint32_t threads);

typedef struct muster_adam_parameter {
  /** f32. */
  muster_tensor weights;
  /** f32, f16 or bf16; read only. */
  muster_tensor gradient;
  /** f32: the running mean of the gradient, zeros before the first step. */
  muster_tensor first_moment;
  /** f32: the running mean of its square, zeros before the first step. */
  muster_tensor second_moment;
  /** f16 or bf16: gets the rounded weights. Without elements: none is kept. */
  muster_tensor copy;
} muster_adam_parameter;

typedef struct muster_adam_options {
  double learning_rate;
  double beta1;
  double beta2;
  double epsilon;
  double weight_decay;
  /** Multiplies each gradient as it is read: 1 / loss scale, times the clipping factor. 1 for neither. */
  double gradient_factor;
  /** The number of this step; the first is 1. */
  uint64_t step;
  /** 1: the weights decay by themselves (AdamW). 0: the decay is added to the gradient (Adam). */
  int decoupled;
} muster_adam_options;

/** One step of torch.optim.AdamW, or of Adam, without amsgrad. */
muster_code muster_adam(const muster_adam_parameter* parameters, uint64_t count, const muster_adam_options* options, uint32_t threads);

#ifdef __cplusplus
}
#endif
#endif
