/** What convolutions, pooling and attention ask of their arguments, whichever device runs them. The first thing that is wrong is recorded as the thread's last failure. */
#pragma once

#include <cstdint>

#include "muster/attention.h"
#include "muster/convolution.h"

namespace muster::kernels {

muster_code checkConvolve(const muster_convolution& convolution, const muster_tensor& input, const muster_tensor& weight, const muster_tensor& bias, const muster_tensor& result);
muster_code checkConvolveBackwardInput(const muster_convolution& convolution, const muster_tensor& gradient, const muster_tensor& weight, const muster_tensor& inputGradient);
muster_code checkConvolveBackwardWeight(const muster_convolution& convolution, const muster_tensor& input, const muster_tensor& gradient, const muster_tensor& weightGradient,
                                        const muster_tensor& biasGradient);

muster_code checkPool(const muster_images& images, muster_pooling pooling, const muster_tensor& input, const muster_tensor& result, const std::int32_t* places);
/** All but what the places are. */
muster_code checkPoolBackward(const muster_images& images, muster_pooling pooling, const muster_tensor& gradient, const std::int32_t* places, const muster_tensor& inputGradient);

muster_code checkAttention(const muster_attention_call& call);
muster_code checkAttentionBackward(const muster_attention_backward_call& call);

}  // namespace muster::kernels
