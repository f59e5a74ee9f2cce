/** What happens to gradients between the backward pass and the optimizer, over lists of tensors. */
#ifndef MUSTER_GRADIENTS_H
#define MUSTER_GRADIENTS_H

#include "muster/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Multiplies gradients (f32, f16, bf16) in place by inverse = float(1 / double(scale)) and sets `found_inf` to 1 if one of them was
 * infinite or NaN before; else leaves it as it is, so that it gathers over calls.
 * As PyTorch's _amp_foreach_non_finite_check_and_unscale_.
 */
muster_code muster_unscale(const muster_tensor* gradients, uint64_t count, float scale, float* found_inf, uint32_t threads);

/**
 * The L2 norm of all gradients taken as one vector, 0 for none. Squares are summed in f64, so it is finite wherever the gradients are, and the
 * same bits whatever the instruction set and the number of threads.
 */
muster_code muster_gradient_norm(const muster_tensor* gradients, uint64_t count, uint32_t threads, double* norm);

/**
 * As PyTorch's clip_grad_norm_: multiplies all gradients by max_norm / (norm + 1e-6), rounded to f32, unless that is 1 or more. A norm of
 * infinity or NaN does as it does there: gradients become 0 or NaN. @param norm the norm before.
 */
muster_code muster_clip_gradients(const muster_tensor* gradients, uint64_t count, double max_norm, uint32_t threads, double* norm);

#ifdef __cplusplus
}
#endif
#endif
