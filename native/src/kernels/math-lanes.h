/** exp, tanh, erf and the activations on all lanes. Each is within 4 units of the last place, or 1e-7 where that is more. NaN stays NaN. */
#pragma once

#include <type_traits>

#include "kernels/activation.h"
#include "kernels/lanes.h"

namespace muster::kernels::lanes {
namespace {

/** The polynomial with these coefficients, the highest power first. */
template <class... Coefficients>
[[gnu::always_inline]] inline Floats polynomial(Floats x, float first, Coefficients... rest) {
  Floats value = splat(first);
  ((value = multiplyAdd(value, x, splat(rest))), ...);
  return value;
}

/** Source: Cephes (expf). 2^n * e^r, r within half of ln 2. Results below the smallest normal number are 0. */
[[gnu::always_inline]] inline Floats exponential(Floats x) {
  constexpr float lowest = -87.336544f;
  constexpr float highest = 88.722839f;
  constexpr float roundsToInteger = 12582912.0f;  // 1.5 * 2^23: its last place is 1
  const Floats inside = smaller(larger(x, splat(lowest)), splat(highest));
  const Floats shifted = multiplyAdd(inside, splat(1.44269504088896341f), splat(roundsToInteger));
  const Floats n = shifted - roundsToInteger;
  const Floats rest = multiplyAdd(n, splat(2.12194440e-4f), multiplyAdd(n, splat(-0.693359375f), inside));
  const Floats power = polynomial(rest, 1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f);
  const Floats fraction = multiplyAdd(power, rest * rest, rest) + 1.0f;
  // In two halves, since 2^128 is no float.
  const Masks whole = reinterpret_cast<Masks>(words(shifted) - words(splat(roundsToInteger)));
  const Masks half = whole >> 1;
  const Floats result = fraction * floats(reinterpret_cast<Words>((half + 127) << 23)) * floats(reinterpret_cast<Words>((whole - half + 127) << 23));
  const Floats limited = x > highest ? splat(__builtin_inff()) : x < lowest ? Floats{} : result;
  return x != x ? x : limited;
}

/** Source: Cephes (tanhf). */
[[gnu::always_inline]] inline Floats hyperbolicTangent(Floats x) {
  const Floats magnitude = floats(words(x) & kF32Magnitude);
  const Floats square = x * x;
  const Floats small = multiplyAdd(
      polynomial(square, -5.70498872745e-3f, 2.06390887954e-2f, -5.37397155531e-2f, 1.33314422036e-1f, -3.33332819422e-1f) * square, x, x);
  const Floats large = 1.0f - 2.0f / (exponential(magnitude + magnitude) + 1.0f);
  const Floats signedLarge = floats(words(large) | (words(x) & ~kF32Magnitude));
  const Floats value = magnitude < 0.625f ? small : signedLarge;
  return x != x ? x : value;
}

/** Source: Eigen's rational approximation of erf on [-4, 4]; beyond, it is 1 in f32. */
[[gnu::always_inline]] inline Floats errorFunction(Floats x) {
  const Floats inside = smaller(larger(x, splat(-4)), splat(4));
  const Floats square = inside * inside;
  const Floats numerator = polynomial(square, -2.72614225801306e-10f, 2.77068142495902e-08f, -2.10102402082508e-06f, -5.69250639462346e-05f,
                                      -7.34990630326855e-04f, -2.95459980854025e-03f, -1.60960333262415e-02f);
  const Floats denominator = polynomial(square, -1.45660718464996e-05f, -2.13374055278905e-04f, -1.68282697438203e-03f, -7.37332916720468e-03f, -1.42647390514189e-02f);
  return x != x ? x : inside * numerator / denominator;
}

template <muster_activation activation>
[[gnu::always_inline]] inline Floats activate(Floats x) {
  if constexpr (activation == MUSTER_RELU) {
    return x < 0.0f ? Floats{} : x;
  } else if constexpr (activation == MUSTER_GELU_ERF) {
    return 0.5f * x * (1.0f + errorFunction(x * kRootHalf));
  } else if constexpr (activation == MUSTER_GELU_TANH) {
    return 0.5f * x * (1.0f + hyperbolicTangent(kGeluScale * (x + kGeluCube * x * x * x)));
  } else if constexpr (activation == MUSTER_SILU) {
    return x / (1.0f + exponential(-x));
  } else {
    return x;
  }
}

template <muster_activation activation>
[[gnu::always_inline]] inline Floats backward(Floats x, Floats gradient) {
  if constexpr (activation == MUSTER_RELU) {
    return x <= 0.0f ? Floats{} : gradient;
  } else if constexpr (activation == MUSTER_GELU_ERF) {
    return gradient * (0.5f * (1.0f + errorFunction(x * kRootHalf)) + x * kNormalDensity * exponential(-0.5f * x * x));
  } else if constexpr (activation == MUSTER_GELU_TANH) {
    const Floats tangent = hyperbolicTangent(kGeluScale * (x + kGeluCube * x * x * x));
    return gradient * (0.5f * (1.0f + tangent) + 0.5f * x * (1.0f - tangent * tangent) * kGeluScale * (1.0f + 3 * kGeluCube * x * x));
  } else if constexpr (activation == MUSTER_SILU) {
    const Floats share = 1.0f / (1.0f + exponential(-x));
    return gradient * (share + x * share * (1.0f - share));
  } else {
    return gradient;
  }
}

/** Calls `visit` with the activation as a type: loops choose once for many numbers. */
template <class Visitor>
[[gnu::always_inline]] inline auto withActivation(muster_activation activation, Visitor&& visit) {
  switch (activation) {
    case MUSTER_RELU: return visit(std::integral_constant<muster_activation, MUSTER_RELU>());
    case MUSTER_GELU_ERF: return visit(std::integral_constant<muster_activation, MUSTER_GELU_ERF>());
    case MUSTER_GELU_TANH: return visit(std::integral_constant<muster_activation, MUSTER_GELU_TANH>());
    case MUSTER_SILU: return visit(std::integral_constant<muster_activation, MUSTER_SILU>());
    case MUSTER_IDENTITY: break;
  }
  return visit(std::integral_constant<muster_activation, MUSTER_IDENTITY>());
}

inline Floats activate(muster_activation activation, Floats x) {
  return withActivation(activation, [&](auto which) { return activate<which()>(x); });
}

}  // namespace
}  // namespace muster::kernels::lanes
