/** Activations, number by number, in plain scalar code. */
#pragma once

#include <cmath>

#include "muster/gemm.h"

namespace muster::kernels {

/** sqrt(2 / pi), and the share of the cube, of the approximation of GELU. */
inline constexpr float kGeluScale = 0.7978845608028654f;
inline constexpr float kGeluCube = 0.044715f;
inline constexpr float kRootHalf = 0.7071067811865476f;

namespace reference {

inline float activate(muster_activation activation, float x) {
  switch (activation) {
    case MUSTER_IDENTITY: break;
    case MUSTER_RELU: return x < 0 ? 0 : x;  // NaN stays
    case MUSTER_GELU_ERF: return 0.5f * x * (1 + std::erf(x * kRootHalf));
    case MUSTER_GELU_TANH: return 0.5f * x * (1 + std::tanh(kGeluScale * (x + kGeluCube * x * x * x)));
  }
  return x;
}

}  // namespace reference
}  // namespace muster::kernels
