/**
 * The body of one table of kernels. Each file that includes this is compiled for another instruction set, and the
 * compiler's vectoriser does the rest; all but the 16-bit conversions are plain loops. Everything here is in
 * an unnamed namespace and calls, beyond the baseline, no inline function of others: the linker would keep one copy of such a
 * function, perhaps one that this processor cannot run.
 *
 * Bytes: reads n and writes 1 for each byte of the result. FLOPs: n - 1 an element.
 * Two sources go through registers only. More, and 16-bit types, go through a tile of accumulators in the first-level cache.
 */
#include <cstddef>
#include <cstdint>
#include <type_traits>

#if defined(__F16C__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "collective/half-float.h"
#include "collective/reduce.h"

namespace muster {
namespace {

constexpr std::size_t kTileElements = 512;

struct Sum {
  template <class T>
  static T apply(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      return a + b;
    } else {
      return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) + static_cast<std::make_unsigned_t<T>>(b));
    }
  }
};

struct Product {
  template <class T>
  static T apply(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
      return a * b;
    } else {
      return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) * static_cast<std::make_unsigned_t<T>>(b));
    }
  }
};

struct Min {
  template <class T>
  static T apply(T a, T b) {
    return (a < b) | (a != a) ? a : b;
  }
};

struct Max {
  template <class T>
  static T apply(T a, T b) {
    return (a > b) | (a != a) ? a : b;
  }
};

/** A type that is reduced as it is stored. */
template <class T>
struct Plain {
  using Stored = T;
  using Accumulator = T;
  static void widen(const T* source, T* target, std::size_t count) {
    for (std::size_t i = 0; i < count; i++) target[i] = source[i];
  }
  static void narrow(const T* source, T* target, std::size_t count) {
    for (std::size_t i = 0; i < count; i++) target[i] = source[i];
  }
};

/** An integer whose sum needs more bits than it has. */
template <class T>
struct Widened {
  using Stored = T;
  using Accumulator = std::int64_t;
  static void widen(const T* source, Accumulator* target, std::size_t count) {
    for (std::size_t i = 0; i < count; i++) target[i] = source[i];
  }
  static void narrow(const Accumulator* source, T* target, std::size_t count) {
    for (std::size_t i = 0; i < count; i++) target[i] = static_cast<T>(source[i]);
  }
};

struct Bfloat16 {
  using Stored = std::uint16_t;
  using Accumulator = float;
  static void widen(const Stored* source, float* target, std::size_t count) {
    for (std::size_t i = 0; i < count; i++) {
      const std::uint32_t bits = std::uint32_t{source[i]} << 16;
      __builtin_memcpy(target + i, &bits, sizeof bits);
    }
  }
  static void narrow(const float* source, Stored* target, std::size_t count) {
    for (std::size_t i = 0; i < count; i++) {
      std::uint32_t bits;
      __builtin_memcpy(&bits, source + i, sizeof bits);
      const std::uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1u);
      const std::uint32_t quiet = bits | 0x400000u;
      target[i] = static_cast<Stored>(((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded) >> 16);
    }
  }
};

struct Float16 {
  using Stored = std::uint16_t;
  using Accumulator = float;
#if defined(__AVX512F__)
  static constexpr __mmask16 kAll = 0xffff;  // GCC 12 takes the lanes of the unmasked intrinsics for uninitialised
#endif

  static void widen(const Stored* source, float* target, std::size_t count) {
    std::size_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= count; i += 16) {
      _mm512_storeu_ps(target + i, _mm512_maskz_cvtph_ps(kAll, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i))));
    }
#elif defined(__F16C__)
    for (; i + 8 <= count; i += 8) {
      _mm256_storeu_ps(target + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i))));
    }
#elif defined(__aarch64__)
    for (; i + 4 <= count; i += 4) vst1q_f32(target + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(source + i))));
#endif
    for (; i < count; i++) target[i] = widenOne(source[i]);
  }

  static void narrow(const float* source, Stored* target, std::size_t count) {
    std::size_t i = 0;
#if defined(__AVX512F__)
    for (; i + 16 <= count; i += 16) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + i), _mm512_maskz_cvtps_ph(kAll, _mm512_loadu_ps(source + i), _MM_FROUND_TO_NEAREST_INT));
    }
#elif defined(__F16C__)
    for (; i + 8 <= count; i += 8) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(target + i), _mm256_cvtps_ph(_mm256_loadu_ps(source + i), _MM_FROUND_TO_NEAREST_INT));
    }
#elif defined(__aarch64__)
    for (; i + 4 <= count; i += 4) vst1_u16(target + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(source + i))));
#endif
    for (; i < count; i++) target[i] = narrowOne(source[i]);
  }

 private:
#if defined(__F16C__)
  static float widenOne(Stored half) { return _cvtsh_ss(half); }
  static Stored narrowOne(float value) { return _cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT); }
#else
  static float widenOne(Stored half) { return float16ToFloat(half); }
  static Stored narrowOne(float value) { return floatToFloat16(value); }
#endif
};

/** Two sources of a plain type. The target may be either, element by element: ivdep. */
template <class T, class Operation>
void reducePair(const T* a, const T* b, T* target, std::size_t count) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < count; i++) target[i] = Operation::apply(a[i], b[i]);
}

template <class Element, class Operation, bool isAverage>
void reduceTile(const void* const* sources, std::uint32_t sourceCount, void* target, std::size_t start, std::size_t count) {
  using Stored = typename Element::Stored;
  using Accumulator = typename Element::Accumulator;
  alignas(64) Accumulator sum[kTileElements];
  alignas(64) Accumulator next[kTileElements];
  Element::widen(static_cast<const Stored*>(sources[0]) + start, sum, count);
  for (std::uint32_t source = 1; source < sourceCount; source++) {
    if constexpr (std::is_same_v<Stored, Accumulator>) {
      const Stored* from = static_cast<const Stored*>(sources[source]) + start;
      for (std::size_t i = 0; i < count; i++) sum[i] = Operation::apply(sum[i], from[i]);
    } else {
      Element::widen(static_cast<const Stored*>(sources[source]) + start, next, count);
      for (std::size_t i = 0; i < count; i++) sum[i] = Operation::apply(sum[i], next[i]);
    }
  }
  if constexpr (isAverage) {
    const auto divisor = static_cast<Accumulator>(sourceCount);
    for (std::size_t i = 0; i < count; i++) sum[i] = sum[i] / divisor;
  }
  Element::narrow(sum, static_cast<Stored*>(target) + start, count);
}

template <class Element, class Operation, bool isAverage = false>
void reduce(const void* const* sources, std::uint32_t sourceCount, void* target, std::size_t count) {
  using Stored = typename Element::Stored;
  if constexpr (std::is_same_v<Stored, typename Element::Accumulator> && !isAverage) {
    if (sourceCount == 2) {
      reducePair<Stored, Operation>(static_cast<const Stored*>(sources[0]), static_cast<const Stored*>(sources[1]),
                                    static_cast<Stored*>(target), count);
      return;
    }
  }
  for (std::size_t start = 0; start < count; start += kTileElements) {
    const std::size_t left = count - start;
    reduceTile<Element, Operation, isAverage>(sources, sourceCount, target, start, left < kTileElements ? left : kTileElements);
  }
}

#define MUSTER_REDUCE_ROW(Element, Average) \
  {reduce<Element, Sum>, reduce<Element, Product>, reduce<Element, Min>, reduce<Element, Max>, reduce<Average, Sum, true>}

/** In the order of muster_dtype and of muster_reduction. */
#define MUSTER_REDUCE_KERNELS                              \
  {                                                        \
    MUSTER_REDUCE_ROW(Plain<double>, Plain<double>),       \
    MUSTER_REDUCE_ROW(Plain<float>, Plain<float>),         \
    MUSTER_REDUCE_ROW(Float16, Float16),                   \
    MUSTER_REDUCE_ROW(Bfloat16, Bfloat16),                 \
    MUSTER_REDUCE_ROW(Plain<std::int64_t>, Plain<std::int64_t>), \
    MUSTER_REDUCE_ROW(Plain<std::int32_t>, Widened<std::int32_t>), \
    MUSTER_REDUCE_ROW(Plain<std::uint8_t>, Widened<std::uint8_t>), \
  }

}  // namespace
}  // namespace muster
