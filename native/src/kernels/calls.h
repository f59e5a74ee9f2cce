/** What each call of the kernels' C ABI asks of its arguments, whichever device runs it. The first thing that is wrong is recorded as the thread's last failure. */
#pragma once

#include "kernels/optimizer.h"
#include "muster/gemm.h"
#include "muster/layers.h"
#include "muster/optimizer.h"

namespace muster::kernels {

muster_code checkConvert(const muster_tensor& source, const muster_tensor& target);

muster_code checkGradients(const muster_tensor* gradients, std::uint64_t count, bool areWritten);
muster_code checkNormMax(double normMax);

muster_code checkSgd(const muster_sgd_parameter* parameters, std::uint64_t count, const muster_sgd_options& options);
muster_code checkAdam(const muster_adam_parameter* parameters, std::uint64_t count, const muster_adam_options& options);
SgdFactors sgdFactors(const muster_sgd_options& options);

muster_code checkCombine(muster_pairwise operation, const muster_tensor& first, const muster_tensor& second, const muster_tensor& result);
muster_code checkActivate(muster_activation activation, const muster_tensor& input, const muster_tensor& result);
muster_code checkActivateBackward(muster_activation activation, const muster_tensor& input, const muster_tensor& gradient, const muster_tensor& result);
muster_code checkSummarize(muster_reduction_kind kind, const muster_tensor& input);

muster_code checkSoftmax(const muster_tensor& input, std::uint64_t columns, const muster_tensor& result);
muster_code checkSoftmaxBackward(const muster_tensor& output, const muster_tensor& gradient, std::uint64_t columns, const muster_tensor& result);
muster_code checkLayerNorm(const muster_layer_norm_call& call);
muster_code checkLayerNormBackward(const muster_layer_norm_backward_call& call);

/** All but the targets, which may lie where they cannot be looked at. */
muster_code checkCrossEntropy(const muster_cross_entropy_call& call);

/** All but the tokens. */
muster_code checkEmbedding(const muster_tensor& table, std::uint64_t columns, const muster_tensor& result);
muster_code checkEmbeddingBackward(const muster_tensor& gradient, std::uint64_t columns, const muster_tensor& tableGradient);

muster_code checkGemm(const muster_gemm_call& call);

}  // namespace muster::kernels
