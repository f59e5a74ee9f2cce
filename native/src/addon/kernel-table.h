/** The table of tensor-kernels.ts, for the CPU or a GPU. */
#pragma once

#include "addon/layer-calls.h"
#include "addon/tensor-calls.h"

namespace muster::addon {

template <std::size_t count>
using Names = std::array<const char*, count>;

inline constexpr Names<4> kMapNames{"result", "first", "second", "third"};
inline constexpr Names<2> kReduceNames{"result", "input"};
inline constexpr Names<3> kIndexNames{"indexed", "index", "picked"};
inline constexpr Names<1> kRandomNames{"result"};
inline constexpr Names<4> kGemmNames{"result", "left", "right", "bias"};
inline constexpr Names<3> kBackwardNames{"result", "input", "gradient"};
inline constexpr Names<3> kSoftmaxBackwardNames{"result", "output", "gradient"};
inline constexpr Names<6> kLayerNormNames{"result", "mean", "scale", "input", "weight", "bias"};
inline constexpr Names<8> kLayerNormBackwardNames{"inputGradient", "weightGradient", "biasGradient", "input", "weight", "mean", "scale", "gradient"};
inline constexpr Names<4> kCrossEntropyNames{"losses", "gradient", "logits", "targets"};
inline constexpr Names<3> kEmbeddingNames{"result", "table", "tokens"};
inline constexpr Names<3> kEmbeddingBackwardNames{"tableGradient", "gradient", "tokens"};
inline constexpr Names<4> kConvolveNames{"result", "input", "weight", "bias"};
inline constexpr Names<3> kConvolveBackwardInputNames{"inputGradient", "gradient", "weight"};
inline constexpr Names<4> kConvolveBackwardWeightNames{"weightGradient", "biasGradient", "input", "gradient"};
inline constexpr Names<3> kPoolNames{"result", "input", "places"};
inline constexpr Names<3> kPoolBackwardNames{"inputGradient", "gradient", "places"};
inline constexpr Names<5> kAttentionNames{"result", "logSums", "query", "key", "value"};
inline constexpr Names<9> kAttentionBackwardNames{"queryGradient", "keyGradient", "valueGradient", "result", "logSums", "query", "key", "value", "gradient"};

/** @param data what Queue::of finds in a call, owned by the object */
template <class Queue>
Napi::Object kernelTable(Napi::Env env, void* data) {
  Napi::Object table = Napi::Object::New(env);
  const auto add = [&](const char* name, Napi::Function function) { table[name] = function; };
#define MUSTER_KERNEL(name, names) add(#name, Napi::Function::New<run<Queue, names.size(), names, name<Queue>>>(env, #name, data))
#define MUSTER_LIST_KERNEL(name) add(#name, Napi::Function::New<runList<Queue, name<Queue>>>(env, #name, data))
  MUSTER_KERNEL(map, kMapNames);
  MUSTER_KERNEL(reduce, kReduceNames);
  MUSTER_KERNEL(gather, kIndexNames);
  MUSTER_KERNEL(scatterAdd, kIndexNames);
  MUSTER_KERNEL(random, kRandomNames);
  MUSTER_KERNEL(gemm, kGemmNames);
  MUSTER_KERNEL(activate, kReduceNames);
  MUSTER_KERNEL(activateBackward, kBackwardNames);
  MUSTER_KERNEL(softmax, kReduceNames);
  MUSTER_KERNEL(softmaxBackward, kSoftmaxBackwardNames);
  MUSTER_KERNEL(layerNorm, kLayerNormNames);
  MUSTER_KERNEL(layerNormBackward, kLayerNormBackwardNames);
  MUSTER_KERNEL(crossEntropy, kCrossEntropyNames);
  MUSTER_KERNEL(embedding, kEmbeddingNames);
  MUSTER_KERNEL(embeddingBackward, kEmbeddingBackwardNames);
  MUSTER_KERNEL(convolve, kConvolveNames);
  MUSTER_KERNEL(convolveBackwardInput, kConvolveBackwardInputNames);
  MUSTER_KERNEL(convolveBackwardWeight, kConvolveBackwardWeightNames);
  MUSTER_KERNEL(pool, kPoolNames);
  MUSTER_KERNEL(poolBackward, kPoolBackwardNames);
  MUSTER_KERNEL(attention, kAttentionNames);
  MUSTER_KERNEL(attentionBackward, kAttentionBackwardNames);
  MUSTER_LIST_KERNEL(unscale);
  MUSTER_LIST_KERNEL(gradientNorm);
  MUSTER_LIST_KERNEL(clipGradients);
  MUSTER_LIST_KERNEL(sgd);
  MUSTER_LIST_KERNEL(adam);
#undef MUSTER_KERNEL
#undef MUSTER_LIST_KERNEL
  return table;
}

}  // namespace muster::addon
