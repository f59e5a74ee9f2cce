/** Activations and their slopes, number by number, in plain scalar code. */
#pragma once

#include <cmath>

#include "kernels/device.h"
#include "muster/gemm.h"

namespace muster::kernels {

/** sqrt(2 / pi), and the share of the cube, of the approximation of GELU. */
inline constexpr float kGeluScale = 0.7978845608028654f;
inline constexpr float kGeluCube = 0.044715f;
inline constexpr float kRootHalf = 0.7071067811865476f;
/** 1 / sqrt(2 pi): the normal distribution's density at 0. */
inline constexpr float kNormalDensity = 0.3989422804014327f;

namespace reference {

MUSTER_ON_EVERY_DEVICE inline float activate(muster_activation activation, float x) {
  switch (activation) {
    case MUSTER_IDENTITY: break;
    case MUSTER_RELU: return x < 0 ? 0 : x;  // NaN stays
    case MUSTER_GELU_ERF: return 0.5f * x * (1 + std::erf(x * kRootHalf));
    case MUSTER_GELU_TANH: return 0.5f * x * (1 + std::tanh(kGeluScale * (x + kGeluCube * x * x * x)));
    case MUSTER_SILU: return x / (1 + std::exp(-x));
  }
  return x;
}

MUSTER_ON_EVERY_DEVICE inline float slope(muster_activation activation, float x) {
  switch (activation) {
    case MUSTER_IDENTITY: break;
    case MUSTER_RELU: return x <= 0 ? 0 : 1;
    case MUSTER_GELU_ERF: return 0.5f * (1 + std::erf(x * kRootHalf)) + x * kNormalDensity * std::exp(-0.5f * x * x);
    case MUSTER_GELU_TANH: {
      const float tangent = std::tanh(kGeluScale * (x + kGeluCube * x * x * x));
      return 0.5f * (1 + tangent) + 0.5f * x * (1 - tangent * tangent) * kGeluScale * (1 + 3 * kGeluCube * x * x);
    }
    case MUSTER_SILU: {
      const float share = 1 / (1 + std::exp(-x));
      return share + x * share * (1 - share);
    }
  }
  return 1;
}

/** The gradient of x from that of its activation. Where ReLU is 0 nothing flows back, not even what is infinite. */
MUSTER_ON_EVERY_DEVICE inline float backward(muster_activation activation, float x, float gradient) {
  return activation == MUSTER_RELU && x <= 0 ? 0 : gradient * slope(activation, x);
}

}  // namespace reference
}  // namespace muster::kernels
