/**
 * The body of one table of kernels. Each file that includes this is compiled for another instruction set, and the
 * compiler's vectoriser does the rest: all but the conversions of small floats are plain loops. Everything here is in
 * an unnamed namespace and calls, beyond the baseline, no inline function of others: the linker would keep one copy of such a
 * function, perhaps one that this processor cannot run.
 *
 * Bytes: reads n and writes 1 for each byte of the result. FLOPs: n - 1 an element.
 * Two sources go through registers only. More, and small floats, go through a tile of accumulators in the first-level cache.
 */
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "collective/reduce.h"
#if defined(__AVX2__) || defined(__aarch64__)
#define MUSTER_HAS_LANES 1
#include "kernels/lanes.h"
#else
#define MUSTER_HAS_LANES 0
#include "kernels/formats.h"
#endif

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

/** A float of 16 or 8 bits. */
template <class Format>
struct Small {
  using Stored = typename Format::Element;
  using Accumulator = float;
  static void widen(const Stored* source, float* target, std::size_t count) {
#if MUSTER_HAS_LANES
    kernels::lanes::forEachVector(count, [&](std::size_t at, std::size_t lanes) {
      kernels::lanes::store<kernels::F32>(target + at, kernels::lanes::load<Format>(source + at, lanes), lanes);
    });
#else
    for (std::size_t i = 0; i < count; i++) target[i] = kernels::reference::widen<Format>(source[i]);
#endif
  }
  static void narrow(const float* source, Stored* target, std::size_t count) {
#if MUSTER_HAS_LANES
    kernels::lanes::forEachVector(count, [&](std::size_t at, std::size_t lanes) {
      kernels::lanes::store<Format>(target + at, kernels::lanes::load<kernels::F32>(source + at, lanes), lanes);
    });
#else
    for (std::size_t i = 0; i < count; i++) target[i] = kernels::reference::narrow<Format>(source[i]);
#endif
  }
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
#define MUSTER_REDUCE_KERNELS                                      \
  {                                                                \
    MUSTER_REDUCE_ROW(Plain<float>, Plain<float>),                 \
    MUSTER_REDUCE_ROW(Small<kernels::F16>, Small<kernels::F16>),   \
    MUSTER_REDUCE_ROW(Small<kernels::Bf16>, Small<kernels::Bf16>), \
    MUSTER_REDUCE_ROW(Small<kernels::E4m3>, Small<kernels::E4m3>), \
    MUSTER_REDUCE_ROW(Small<kernels::E5m2>, Small<kernels::E5m2>), \
    MUSTER_REDUCE_ROW(Plain<double>, Plain<double>),               \
    MUSTER_REDUCE_ROW(Plain<std::int64_t>, Plain<std::int64_t>),   \
    MUSTER_REDUCE_ROW(Plain<std::int32_t>, Widened<std::int32_t>), \
    MUSTER_REDUCE_ROW(Plain<std::uint8_t>, Widened<std::uint8_t>), \
  }

}  // namespace
}  // namespace muster
