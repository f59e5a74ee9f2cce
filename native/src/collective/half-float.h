/** 16-bit floating point to 32 bits and back, one number at a time: what the vectorised conversions must equal to the bit. */
#pragma once

#include <cstdint>
#include <cstring>

namespace muster {

inline float floatFromBits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline std::uint32_t bitsFromFloat(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float bfloat16ToFloat(std::uint16_t half) { return floatFromBits(std::uint32_t{half} << 16); }

/** To the nearest, ties to even; NaN stays NaN, quieted. */
inline std::uint16_t floatToBfloat16(float value) {
  const std::uint32_t bits = bitsFromFloat(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

inline float float16ToFloat(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t{half & 0x8000u} << 16;
  const std::uint32_t exponent = half >> 10 & 0x1fu;
  const std::uint32_t fraction = half & 0x3ffu;
  if (exponent == 0x1f) return floatFromBits(sign | 0x7f800000u | fraction << 13 | (fraction != 0 ? 0x400000u : 0u));
  if (exponent != 0) return floatFromBits(sign | (exponent + 112) << 23 | fraction << 13);
  const float magnitude = static_cast<float>(fraction) * 0x1p-24f;  // a denormal, or zero: exact
  return floatFromBits(sign | bitsFromFloat(magnitude));
}

/** To the nearest, ties to even; too large becomes infinite; NaN stays NaN, quieted. */
inline std::uint16_t floatToFloat16(float value) {
  const std::uint32_t bits = bitsFromFloat(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // from 65,520 on
  if (magnitude < 0x38800000u) {
    // Denormals: adding 0.5 aligns the fraction so that the processor itself rounds it.
    return static_cast<std::uint16_t>(sign | (bitsFromFloat(floatFromBits(magnitude) + 0.5f) - 0x3f000000u));
  }
  return static_cast<std::uint16_t>(sign | (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13);
}

}  // namespace muster
