/**
 * The floats of 16 and 8 bits: their layouts, and their conversions in plain scalar code, which the vector code (lanes.h) must equal bit by bit.
 * Source: IEEE 754-2019; OCP 8-bit Floating Point Specification 1.0; what it leaves open (E4M3 saturates, FP8 NaNs are all ones) as in
 * PyTorch 2.13 and as the conversions of NVIDIA's processors.
 */
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/device.h"
#include "muster/dtype.h"

namespace muster::kernels {

/** An f32, which needs no conversion. */
struct F32 {
  using Element = float;
  static constexpr muster_dtype kDtype = MUSTER_F32;
};

/** A format of sign, `exponentBits` and `mantissaBits`, in this order, all of them but E4M3 laid out as IEEE's. */
template <class Storage, muster_dtype dtype, int exponentBits, int mantissaBits>
struct SmallFormat {
  using Element = Storage;
  static constexpr muster_dtype kDtype = dtype;
  static constexpr int kBits = 8 * sizeof(Storage);
  static constexpr int kMantissaBits = mantissaBits;
  static constexpr int kBias = (1 << (exponentBits - 1)) - 1;
  /** The exponent of the smallest normal number and of all denormal ones. */
  static constexpr int kExponentMin = 1 - kBias;
  static constexpr bool kHasInfinity = dtype != MUSTER_F8_E4M3;
  static constexpr std::uint32_t kMagnitudeMask = (1u << (kBits - 1)) - 1;
  static constexpr std::uint32_t kInfinity = kHasInfinity ? ((1u << exponentBits) - 1) << mantissaBits : kMagnitudeMask;
  static constexpr std::uint32_t kLargest = kInfinity - 1;
  /** What is too large becomes: infinity, or without it the largest number. */
  static constexpr std::uint32_t kOverflow = kHasInfinity ? kInfinity : kLargest;
};

using F16 = SmallFormat<std::uint16_t, MUSTER_F16, 5, 10>;
using Bf16 = SmallFormat<std::uint16_t, MUSTER_BF16, 8, 7>;
using E4m3 = SmallFormat<std::uint8_t, MUSTER_F8_E4M3, 4, 3>;
using E5m2 = SmallFormat<std::uint8_t, MUSTER_F8_E5M2, 5, 2>;

inline constexpr std::uint32_t kF32Magnitude = 0x7fffffff;
inline constexpr std::uint32_t kF32Infinity = 0x7f800000;
inline constexpr std::uint32_t kF32Quiet = 0x00400000;
inline constexpr int kF32MantissaBits = 23;
inline constexpr int kF32Bias = 127;

namespace reference {

/** To a smaller format: the magnitude counted in units of the last place at its exponent, which is how IEEE numbers are coded. */
template <class Format>
typename Format::Element narrow(float number) {
  using Element = typename Format::Element;
  const auto bits = std::bit_cast<std::uint32_t>(number);
  const std::uint32_t sign = bits >> 31 << (Format::kBits - 1);
  const std::uint32_t magnitude = bits & kF32Magnitude;
  if (magnitude > kF32Infinity) {
    const std::uint32_t payload = magnitude >> (kF32MantissaBits - Format::kMantissaBits) & Format::kMagnitudeMask;
    const std::uint32_t quiet = Format::kBits == 8 ? Format::kMagnitudeMask : payload | 1u << (Format::kMantissaBits - 1) | Format::kInfinity;
    return static_cast<Element>(sign | quiet);
  }
  if (magnitude == kF32Infinity) return static_cast<Element>(sign | Format::kOverflow);
  const int exponent = std::max(static_cast<int>(magnitude >> kF32MantissaBits) - kF32Bias, Format::kExponentMin);
  const double units = std::nearbyint(std::ldexp(static_cast<double>(std::fabs(number)), Format::kMantissaBits - exponent));
  const std::uint32_t code = (static_cast<std::uint32_t>(exponent - Format::kExponentMin) << Format::kMantissaBits) + static_cast<std::uint32_t>(units);
  return static_cast<Element>(sign | std::min(code, Format::kOverflow));
}

/** To f32, exactly. */
template <class Format>
float widen(typename Format::Element element) {
  const std::uint32_t sign = static_cast<std::uint32_t>(element) >> (Format::kBits - 1) << 31;
  const std::uint32_t magnitude = element & Format::kMagnitudeMask;
  const std::uint32_t mantissa = magnitude & ((1u << Format::kMantissaBits) - 1);
  if (magnitude > Format::kLargest) {
    const bool isInfinity = Format::kHasInfinity && mantissa == 0;
    return std::bit_cast<float>(sign | kF32Infinity | (isInfinity ? 0 : kF32Quiet | mantissa << (kF32MantissaBits - Format::kMantissaBits)));
  }
  const int field = static_cast<int>(magnitude >> Format::kMantissaBits);
  const std::uint32_t units = field == 0 ? mantissa : mantissa | 1u << Format::kMantissaBits;
  const int exponent = std::max(field - 1, 0) + Format::kExponentMin - Format::kMantissaBits;
  const float value = std::ldexp(static_cast<float>(units), exponent);
  return sign != 0 ? -value : value;
}

template <class Format>
float read(const typename Format::Element* data, std::size_t index) {
  if constexpr (Format::kDtype == MUSTER_F32) {
    return data[index];
  } else {
    return widen<Format>(data[index]);
  }
}

template <class Format>
void write(typename Format::Element* data, std::size_t index, float value) {
  if constexpr (Format::kDtype == MUSTER_F32) {
    data[index] = value;
  } else {
    data[index] = narrow<Format>(value);
  }
}

}  // namespace reference

/** Calls `visit` with the type for one of kKernelDtypes. */
template <class Visitor>
decltype(auto) withFormat(muster_dtype dtype, Visitor&& visit) {
  switch (dtype) {
    case MUSTER_F16: return visit(F16{});
    case MUSTER_BF16: return visit(Bf16{});
    case MUSTER_F8_E4M3: return visit(E4m3{});
    case MUSTER_F8_E5M2: return visit(E5m2{});
    default: return visit(F32{});
  }
}

}  // namespace muster::kernels
