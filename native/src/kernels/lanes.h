/**
 * Vectors of floats as wide as the instruction set that the including file is compiled for, written with the compiler's vector types:
 * operators work on all lanes. Only what these cannot say is an intrinsic.
 *
 * Everything here has internal linkage: files compiled for different instruction sets include it, and must not share a symbol.
 * Multiplications and additions are fused only where `multiplyAdd` says so (-ffp-contract=off): what does not use it has the same bits
 * with every instruction set. Masks are integers, -1 or 0.
 */
#pragma once

#include <cstddef>
#include <cstring>

#include "kernels/formats.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace muster::kernels::lanes {
namespace {

#if defined(__AVX512F__)
constexpr std::size_t kLanes = 16;
#elif defined(__AVX2__)
constexpr std::size_t kLanes = 8;
#elif defined(__aarch64__)
constexpr std::size_t kLanes = 4;
#else
#error "a scalar file includes no lanes"
#endif

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef std::uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef std::int32_t Masks __attribute__((vector_size(4 * kLanes)));
typedef std::uint16_t Halves __attribute__((vector_size(2 * kLanes)));
typedef std::uint8_t Octets __attribute__((vector_size(kLanes)));

typedef float HalfFloats __attribute__((vector_size(2 * kLanes)));
typedef double Doubles __attribute__((vector_size(4 * kLanes)));

[[gnu::always_inline]] inline Floats splat(float value) { return value - Floats{}; }
[[gnu::always_inline]] inline Words words(Floats value) { return reinterpret_cast<Words>(value); }
[[gnu::always_inline]] inline Floats floats(Words bits) { return reinterpret_cast<Floats>(bits); }
[[gnu::always_inline]] inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }
[[gnu::always_inline]] inline Floats smaller(Floats a, Floats b) { return a < b ? a : b; }

/** The lanes of the lower half. */
[[gnu::always_inline]] inline Doubles widenLow(Floats value) {
  HalfFloats half;
  std::memcpy(&half, &value, sizeof half);
  return __builtin_convertvector(half, Doubles);
}

/** The lanes of the upper half. */
[[gnu::always_inline]] inline Doubles widenHigh(Floats value) {
  HalfFloats half;
  std::memcpy(&half, reinterpret_cast<const std::byte*>(&value) + sizeof half, sizeof half);
  return __builtin_convertvector(half, Doubles);
}

template <class Vector>
[[gnu::always_inline]] inline Vector loadVector(const void* from) {
  Vector value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class Vector>
[[gnu::always_inline]] inline void storeVector(void* to, Vector value) {
  std::memcpy(to, &value, sizeof value);
}

[[gnu::always_inline]] inline Floats squareRoot(Floats value) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(_mm512_sqrt_ps(reinterpret_cast<__m512>(value)));
#elif defined(__AVX2__)
  return reinterpret_cast<Floats>(_mm256_sqrt_ps(reinterpret_cast<__m256>(value)));
#else
  return vsqrtq_f32(value);
#endif
}

/** a * b + c, rounded once. */
[[gnu::always_inline]] inline Floats multiplyAdd(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(_mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif defined(__AVX2__)
  return reinterpret_cast<Floats>(_mm256_fmadd_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#else
  return vfmaq_f32(c, a, b);
#endif
}

[[gnu::always_inline]] inline Floats widenF16(Halves halves) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(_mm512_cvtph_ps(reinterpret_cast<__m256i>(halves)));
#elif defined(__AVX2__)
  return reinterpret_cast<Floats>(_mm256_cvtph_ps(reinterpret_cast<__m128i>(halves)));
#else
  return vcvt_f32_f16(reinterpret_cast<float16x4_t>(halves));
#endif
}

[[gnu::always_inline]] inline Halves narrowF16(Floats value) {
#if defined(__AVX512F__)
  return reinterpret_cast<Halves>(_mm512_cvtps_ph(reinterpret_cast<__m512>(value), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__AVX2__)
  return reinterpret_cast<Halves>(_mm256_cvtps_ph(reinterpret_cast<__m256>(value), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#else
  return reinterpret_cast<Halves>(vcvt_f16_f32(value));
#endif
}

#if defined(__AVX512F__)
/**
 * For each exponent that FP8 has, by its lower bits: the number whose last place is the format's there, and whose lowest bits are the code of a mantissa of 0. A magnitude of that
 * exponent, added to it, is rounded as it must be, and the lowest bits are its code. Denormals have the smallest normal number's.
 */
template <class Format>
struct alignas(64) Rulers {
  float of[32] = {};

  constexpr Rulers() {
    constexpr int kExponents = static_cast<int>(Format::kOverflow >> Format::kMantissaBits);
    for (int index = 0; index < kExponents; index++) {
      const int exponent = Format::kExponentMin + index + kF32Bias;
      const int lastPlace = exponent - Format::kMantissaBits + kF32MantissaBits;
      of[exponent % 32] = std::bit_cast<float>(static_cast<std::uint32_t>(lastPlace) << kF32MantissaBits | static_cast<std::uint32_t>(index) << Format::kMantissaBits);
    }
  }
};

template <class Format>
constexpr Rulers<Format> kRulers{};

/** `reference::narrow` to FP8 on all lanes. */
template <class Format>
[[gnu::always_inline]] inline Octets narrowToOctets(Floats value) {
  constexpr int kSmallestMagnitude = 0b1010;  // of _mm512_range_ps: the smaller magnitude, without its sign
  constexpr int kNanToLargest = 0xee;  // of _mm512_fixupimm_ps: NaN becomes the largest f32, whose lower bits are all ones
  // Infinity's code, or the largest number's, is what this and all above it round to.
  constexpr float overflow = Format::kHasInfinity ? 0x1p16f : 448;
  static_assert(Format::kHasInfinity ? Format::kInfinity == 0x7c : Format::kLargest == 0x7e);
  const auto lanes = reinterpret_cast<__m512>(value);
  const __m512 magnitude = _mm512_range_ps(lanes, _mm512_set1_ps(overflow), kSmallestMagnitude);
  const __m512 normal = _mm512_max_ps(magnitude, _mm512_set1_ps(std::bit_cast<float>(static_cast<std::uint32_t>(Format::kExponentMin + kF32Bias) << kF32MantissaBits)));
  const __m512i exponent = _mm512_srli_epi32(_mm512_castps_si512(normal), kF32MantissaBits);
  const __m512 ruler = _mm512_permutex2var_ps(_mm512_load_ps(kRulers<Format>.of), exponent, _mm512_load_ps(kRulers<Format>.of + kLanes));
  const __m512 sum = _mm512_fixupimm_ps(_mm512_add_ps(magnitude, ruler), lanes, _mm512_set1_epi32(kNanToLargest), 0);
  constexpr int kSelect = 0xca;  // of _mm512_ternarylogic_epi32: where the first has ones the second, elsewhere the third
  const __m512i sign = _mm512_srli_epi32(_mm512_castps_si512(lanes), 24);
  return reinterpret_cast<Octets>(_mm512_cvtepi32_epi8(_mm512_ternarylogic_epi32(_mm512_set1_epi32(0x80), sign, _mm512_castps_si512(sum), kSelect)));
}
#else
/** `reference::narrow` to FP8 on all lanes. */
template <class Format>
[[gnu::always_inline]] inline Octets narrowToOctets(Floats value) {
  constexpr int shift = kF32MantissaBits - Format::kMantissaBits;
  constexpr std::uint32_t rebias = static_cast<std::uint32_t>(kF32Bias - Format::kBias) << Format::kMantissaBits;
  constexpr std::uint32_t smallestNormal = static_cast<std::uint32_t>(Format::kExponentMin + kF32Bias) << kF32MantissaBits;
  // Added to a number whose last place is the smallest denormal, the magnitude is rounded as it must be.
  constexpr std::uint32_t ruler = static_cast<std::uint32_t>(Format::kExponentMin - Format::kMantissaBits + kF32MantissaBits + kF32Bias) << kF32MantissaBits;
  const Words bits = words(value);
  const Words magnitude = bits & kF32Magnitude;
  const Words normal = ((magnitude + ((1u << (shift - 1)) - 1) + (magnitude >> shift & 1)) >> shift) - rebias;
  const Words denormal = words(floats(magnitude) + floats(Words{} + ruler)) - ruler;
  const Words rounded = magnitude < smallestNormal ? denormal : normal;
  const Words code = rounded > Format::kOverflow ? Words{} + Format::kOverflow : rounded;
  return __builtin_convertvector(bits >> 31 << (Format::kBits - 1) | (value != value ? Words{} + Format::kMagnitudeMask : code), Octets);
}
#endif

/** The sign rides along in the sum, which overflows for NaN alone. The instruction of AVX512-BF16 takes denormals for zero: it is none for this. */
[[gnu::always_inline]] inline Halves narrowBf16(Floats value) {
  const Words bits = words(value);
  const Words upper = bits >> 16;
  const Words rounded = (bits + 0x7fff + (upper & 1)) >> 16;
  return __builtin_convertvector(value != value ? upper | kF32Quiet >> 16 : rounded, Halves);
}

[[gnu::always_inline]] inline Floats widenBf16(Halves halves) { return floats(__builtin_convertvector(halves, Words) << 16); }

/** As f16, whose denormals are E4M3's at 2^-8 of their values; 480, of which E4M3 makes its NaN, becomes one. */
[[gnu::always_inline]] inline Floats widenE4m3(Octets octets) {
  typedef std::int8_t SignedOctets __attribute__((vector_size(kLanes)));
  typedef std::int16_t SignedHalves __attribute__((vector_size(2 * kLanes)));
  const auto signedCodes = reinterpret_cast<Halves>(__builtin_convertvector(reinterpret_cast<SignedOctets>(octets), SignedHalves));
  const Words value = words(widenF16(signedCodes << 7 & 0xbf80) * 0x1p8f);
  constexpr std::uint32_t nan = kF32Infinity | 7u << (kF32MantissaBits - E4m3::kMantissaBits);
  return floats((value & kF32Magnitude) == std::bit_cast<std::uint32_t>(480.0f) ? value | nan : value);
}

/** The numbers at `from`, one vector of them, as f32. */
template <class Format>
[[gnu::always_inline]] inline Floats load(const typename Format::Element* from) {
  if constexpr (Format::kDtype == MUSTER_F32) {
    return loadVector<Floats>(from);
  } else if constexpr (Format::kDtype == MUSTER_F16) {
    return widenF16(loadVector<Halves>(from));
  } else if constexpr (Format::kDtype == MUSTER_BF16) {
    return widenBf16(loadVector<Halves>(from));
  } else if constexpr (Format::kDtype == MUSTER_F8_E4M3) {
    return widenE4m3(loadVector<Octets>(from));
  } else {
    return widenF16(__builtin_convertvector(loadVector<Octets>(from), Halves) << 8);
  }
}

template <class Format>
[[gnu::always_inline]] inline auto narrow(Floats value) {
  if constexpr (Format::kDtype == MUSTER_F32) {
    return value;
  } else if constexpr (Format::kDtype == MUSTER_F16) {
    return narrowF16(value);
  } else if constexpr (Format::kDtype == MUSTER_BF16) {
    return narrowBf16(value);
  } else {
    return narrowToOctets<Format>(value);
  }
}

/** Rounds one vector to the dtype and writes it. */
template <class Format>
[[gnu::always_inline]] inline void store(typename Format::Element* to, Floats value) {
  storeVector(to, narrow<Format>(value));
}

#if defined(__AVX512F__)
/** A bit for each of the first `count` lanes. */
[[gnu::always_inline]] inline __mmask16 firstLanes(std::size_t count) { return static_cast<__mmask16>((1u << count) - 1); }
#endif

/** The first `count` numbers, fewer than a vector has; zeros behind them, whose memory is not touched. */
template <class Format>
[[gnu::always_inline]] inline Floats loadPart(const typename Format::Element* from, std::size_t count) {
#if defined(__AVX512F__)
  if constexpr (Format::kDtype == MUSTER_F32) {
    return reinterpret_cast<Floats>(_mm512_maskz_loadu_ps(firstLanes(count), from));
  } else if constexpr (sizeof *from == sizeof(std::uint16_t)) {
    const auto halves = reinterpret_cast<Halves>(_mm256_maskz_loadu_epi16(firstLanes(count), from));
    return load<Format>(reinterpret_cast<const typename Format::Element*>(&halves));
  }
#endif
  typename Format::Element elements[kLanes] = {};
  std::memcpy(elements, from, count * sizeof *elements);
  return load<Format>(elements);
}

template <class Format>
[[gnu::always_inline]] inline void storePart(typename Format::Element* to, Floats value, std::size_t count) {
#if defined(__AVX512F__)
  if constexpr (Format::kDtype == MUSTER_F32) {
    _mm512_mask_storeu_ps(to, firstLanes(count), reinterpret_cast<__m512>(value));
    return;
  } else if constexpr (sizeof *to == sizeof(std::uint16_t)) {
    _mm256_mask_storeu_epi16(to, firstLanes(count), reinterpret_cast<__m256i>(narrow<Format>(value)));
    return;
  }
#endif
  typename Format::Element elements[kLanes];
  store<Format>(elements, value);
  std::memcpy(to, elements, count * sizeof *elements);
}

/** As `store`, past the caches: for results larger than these. `to` is aligned to the vector's bytes in the dtype. */
template <class Format>
[[gnu::always_inline]] inline void stream(typename Format::Element* to, Floats value) {
  const auto narrowed = narrow<Format>(value);
#if defined(__x86_64__)
  if constexpr (sizeof narrowed == 64) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), reinterpret_cast<__m512i>(narrowed));
  } else if constexpr (sizeof narrowed == 32) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(narrowed));
  } else if constexpr (sizeof narrowed == 16) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to), reinterpret_cast<__m128i>(narrowed));
  } else {
    long long eight;
    std::memcpy(&eight, &narrowed, sizeof eight);
    _mm_stream_si64(reinterpret_cast<long long*>(to), eight);
  }
#else
  storeVector(to, narrowed);
#endif
}

/** Asks for the memory so far ahead of what is computed, whether it is anybody's or not: the processor's own prefetching does not go beyond the end of a page. */
template <std::size_t aheadBytes, class Element>
[[gnu::always_inline]] inline void prefetch(const Element* from) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(from) + aheadBytes));
}

/** Streamed stores are not ordered with the message that says they are done. */
inline void endStream() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

/** 0, 1, 2 and so on. */
[[gnu::always_inline]] inline Masks laneNumbers() {
  Masks lanes{};
  for (std::size_t lane = 0; lane < kLanes; lane++) lanes[lane] = static_cast<std::int32_t>(lane);
  return lanes;
}

/** The first `count` lanes of a vector, and `rest` in the others. */
[[gnu::always_inline]] inline Floats withRest(Floats value, std::size_t count, float rest) {
  return laneNumbers() < static_cast<std::int32_t>(count) ? value : splat(rest);
}

/** Calls `body(offset, count)` for each vector of `elements`, the last of which may be shorter. */
template <class Body>
[[gnu::always_inline]] inline void forEachVector(std::size_t elements, Body&& body) {
  std::size_t at = 0;
  for (; at + kLanes <= elements; at += kLanes) body(at, kLanes);
  if (at < elements) body(at, elements - at);
}

template <class Format>
[[gnu::always_inline]] inline Floats load(const typename Format::Element* from, std::size_t count) {
  return count == kLanes ? load<Format>(from) : loadPart<Format>(from, count);
}

template <class Format>
[[gnu::always_inline]] inline void store(typename Format::Element* to, Floats value, std::size_t count) {
  if (count == kLanes) {
    store<Format>(to, value);
  } else {
    storePart<Format>(to, value, count);
  }
}

}  // namespace
}  // namespace muster::kernels::lanes
