/**
 * The storage formats on a GPU: conversions that give the bits of kernels/formats.h, and loads and stores of several elements at a time. The integer
 * conversions are the same text in the emulator, where a test goes through all inputs of the small formats and many f32.
 */
#pragma once

#include <bit>

#include "kernels/formats.h"
#include "simt.cuh"

namespace muster::cuda {

using kernels::Bf16;
using kernels::E4m3;
using kernels::E5m2;
using kernels::F16;
using kernels::F32;

inline constexpr std::uint32_t kMagnitude = 0x7fffffff;
inline constexpr std::uint32_t kInfinity = 0x7f800000;
inline constexpr std::uint32_t kQuiet = 0x00400000;

/** What NaN becomes. */
template <class Format>
MUSTER_ON_EVERY_DEVICE constexpr std::uint32_t narrowNaN(std::uint32_t magnitude) {
  if (Format::kBits == 8) return Format::kMagnitudeMask;
  return (magnitude >> (23 - Format::kMantissaBits) & Format::kMagnitudeMask) | 1u << (Format::kMantissaBits - 1) | Format::kInfinity;
}

/** Source: the usual trick for denormals, a sum with a number whose last place is the result's. */
template <class Format>
__device__ __forceinline__ std::uint32_t narrowMagnitude(std::uint32_t magnitude) {
  constexpr int mantissa = Format::kMantissaBits;
  constexpr int shift = 23 - mantissa;
  constexpr int exponentMin = Format::kExponentMin;
  if (magnitude > kInfinity) return narrowNaN<Format>(magnitude);
  // An f32 below the format's normal numbers; bf16 has the exponents of f32, and its denormals too.
  if (exponentMin > -126 && magnitude < static_cast<std::uint32_t>(exponentMin + 127) << 23) {
    constexpr std::uint32_t magic = static_cast<std::uint32_t>(exponentMin - mantissa + 23 + 127) << 23;
    return bitsOf(floatOf(magnitude) + floatOf(magic)) - magic;
  }
  const std::uint32_t rounded = magnitude + ((1u << (shift - 1)) - 1) + (magnitude >> shift & 1);
  const std::uint32_t code = (rounded >> shift) - (static_cast<std::uint32_t>(exponentMin + 126) << mantissa);
  return code > Format::kLargest ? Format::kOverflow : code;
}

/** To a smaller format: to nearest, ties to even. */
template <class Format>
__device__ __forceinline__ typename Format::Element narrow(float value) {
  const std::uint32_t bits = bitsOf(value);
  const std::uint32_t sign = bits >> 31 << (Format::kBits - 1);
#ifdef __CUDA_ARCH__
  if constexpr (Format::kBits == 16) {
    std::uint32_t code;
    if constexpr (Format::kDtype == MUSTER_F16) {
      code = roundToF16(value);
    } else {
      code = roundToBf16(value);
    }
    return static_cast<typename Format::Element>((bits & kMagnitude) > kInfinity ? sign | narrowNaN<Format>(bits & kMagnitude) : code);
  }
#endif
  return static_cast<typename Format::Element>(sign | narrowMagnitude<Format>(bits & kMagnitude));
}

/** To f32, exactly; NaN becomes quiet. */
template <class Format>
__device__ __forceinline__ float widen(typename Format::Element element) {
  if constexpr (Format::kDtype == MUSTER_F8_E5M2) {
    return widen<F16>(static_cast<std::uint16_t>(element << 8));
  } else {
    constexpr int shift = 23 - Format::kMantissaBits;
    const std::uint32_t magnitude = element & Format::kMagnitudeMask;
    const std::uint32_t sign = static_cast<std::uint32_t>(element) >> (Format::kBits - 1) << 31;
    if (magnitude > Format::kInfinity || (!Format::kHasInfinity && magnitude == Format::kInfinity)) {
      return floatOf(sign | kInfinity | kQuiet | (magnitude << shift & (kQuiet - 1)));
    }
    if (Format::kHasInfinity && magnitude == Format::kInfinity) return floatOf(sign | kInfinity);
    // The exponents' biases differ by a power of two; denormals are right because it is a multiplication.
    constexpr std::uint32_t factor = static_cast<std::uint32_t>(127 + 127 - Format::kBias) << 23;
    return floatOf(sign | bitsOf(floatOf(magnitude << shift) * floatOf(factor)));
  }
}

/** Words of 32 bits that hold `count` elements. */
template <class Format, int count>
inline constexpr int kWords = (count * static_cast<int>(sizeof(typename Format::Element)) + 3) / 4;

template <class Format>
__device__ __forceinline__ float elementOf(const std::uint32_t* words, int index) {
  if constexpr (Format::kDtype == MUSTER_F32) {
    return floatOf(words[index]);
  } else {
    constexpr int perWord = 32 / Format::kBits;
    return widen<Format>(static_cast<typename Format::Element>(words[index / perWord] >> index % perWord * Format::kBits));
  }
}

/** `count` neighbours as f32. More than one: at an address that is a multiple of 16 bytes, or of their size where that is less. */
template <class Format, int count>
__device__ __forceinline__ void load(const typename Format::Element* from, float (&to)[count]) {
  if constexpr (count == 1) {
    if constexpr (Format::kDtype == MUSTER_F32) {
      to[0] = *from;
    } else {
      to[0] = widen<Format>(*from);
    }
  } else {
    constexpr int words = kWords<Format, count>;
    alignas(16) std::uint32_t raw[words];
    if constexpr (words % 4 == 0) {
#pragma unroll
      for (int at = 0; at < words / 4; at++) {
        const uint4 part = reinterpret_cast<const uint4*>(from)[at];
        raw[4 * at] = part.x, raw[4 * at + 1] = part.y, raw[4 * at + 2] = part.z, raw[4 * at + 3] = part.w;
      }
    } else {
      static_assert(words == 2);
      const uint2 part = *reinterpret_cast<const uint2*>(from);
      raw[0] = part.x, raw[1] = part.y;
    }
#pragma unroll
    for (int index = 0; index < count; index++) to[index] = elementOf<Format>(raw, index);
  }
}

/** As load, rounded. */
template <class Format, int count>
__device__ __forceinline__ void store(typename Format::Element* to, const float (&from)[count]) {
  if constexpr (Format::kDtype == MUSTER_F32 && count == 1) {
    *to = from[0];
  } else if constexpr (count == 1) {
    *to = narrow<Format>(from[0]);
  } else {
    constexpr int words = kWords<Format, count>;
    std::uint32_t raw[words];
#pragma unroll
    for (int word = 0; word < words; word++) {
      if constexpr (Format::kDtype == MUSTER_F32) {
        raw[word] = bitsOf(from[word]);
      } else {
        constexpr int perWord = 32 / Format::kBits;
        raw[word] = 0;
#pragma unroll
        for (int part = 0; part < perWord; part++) raw[word] |= static_cast<std::uint32_t>(narrow<Format>(from[word * perWord + part])) << part * Format::kBits;
      }
    }
    if constexpr (words % 4 == 0) {
#pragma unroll
      for (int at = 0; at < words / 4; at++) reinterpret_cast<uint4*>(to)[at] = {raw[4 * at], raw[4 * at + 1], raw[4 * at + 2], raw[4 * at + 3]};
    } else {
      static_assert(words == 2);
      *reinterpret_cast<uint2*>(to) = {raw[0], raw[1]};
    }
  }
}

/** So many elements make accesses of 16 bytes: 8 where 16-bit formats and f32 meet, 16 with FP8. */
template <class... Formats>
inline constexpr int kVector = ((sizeof(typename Formats::Element) == 1) || ...) ? 16 : 8;

template <int count>
struct Count {
  static constexpr int value = count;
};

/**
 * Goes through `elements` with `threads` threads, of which this is number `thread`: body(Count<width>(), offset) for vectors, where addresses are `aligned`,
 * and body(Count<1>(), offset) for the rest. Neighbouring threads take neighbouring vectors.
 */
template <int width, class Body>
__device__ __forceinline__ void forEachVector(std::uint64_t elements, bool aligned, std::uint64_t thread, std::uint64_t threads, Body body) {
  const std::uint64_t vectors = aligned ? elements / width : 0;
  for (std::uint64_t vector = thread; vector < vectors; vector += threads) body(Count<width>(), vector * width);
  for (std::uint64_t at = vectors * width + thread; at < elements; at += threads) body(Count<1>(), at);
}

/** Whether all addresses are multiples of 16 bytes. */
template <class... Addresses>
inline bool areAligned(Addresses... addresses) {
  return ((reinterpret_cast<std::uintptr_t>(addresses) | ... | 0) % 16) == 0;
}

/** Calls `visit` with the type of a format that activations and gradients come in. */
template <class Visitor>
decltype(auto) withTrainingFormat(muster_dtype dtype, Visitor&& visit) {
  if (dtype == MUSTER_F16) return visit(F16{});
  if (dtype == MUSTER_BF16) return visit(Bf16{});
  return visit(F32{});
}

}  // namespace muster::cuda
