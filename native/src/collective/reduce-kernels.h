/**
 * The body of one table of kernels. Each file that includes this is compiled for another instruction set, and the
 * compiler's vectoriser does the rest, but for small floats, which take the kernels' vectors. Everything here is in
 * an unnamed namespace and calls, beyond the baseline, no inline function of others: the linker would keep one copy of such a
 * function, perhaps one that this processor cannot run.
 *
 * Bytes: reads n and writes 1 for each byte of the result. FLOPs: n - 1 an element.
 * Two sources, and small floats, go through registers only. More go through a tile of accumulators in the first-level cache.
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

/** Of numbers, or of vectors of floats. */
struct Sum {
  template <class T>
  static T apply(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) + static_cast<std::make_unsigned_t<T>>(b));
    } else {
      return a + b;
    }
  }
};

struct Product {
  template <class T>
  static T apply(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) * static_cast<std::make_unsigned_t<T>>(b));
    } else {
      return a * b;
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

/** Two sources of a plain type. The target may be either, element by element: ivdep. */
template <class T, class Operation>
void reducePair(const T* a, const T* b, T* target, std::size_t count) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < count; i++) target[i] = Operation::apply(a[i], b[i]);
}

template <class Stored, class Accumulator, class Operation, bool isAverage>
void reduceTile(const void* const* sources, std::uint32_t sourceCount, void* target, std::size_t start, std::size_t count) {
  alignas(64) Accumulator sum[kTileElements];
  const auto* first = static_cast<const Stored*>(sources[0]) + start;
  for (std::size_t i = 0; i < count; i++) sum[i] = first[i];
  for (std::uint32_t source = 1; source < sourceCount; source++) {
    const auto* from = static_cast<const Stored*>(sources[source]) + start;
    for (std::size_t i = 0; i < count; i++) sum[i] = Operation::apply(sum[i], static_cast<Accumulator>(from[i]));
  }
  if constexpr (isAverage) {
    const auto divisor = static_cast<Accumulator>(sourceCount);
    for (std::size_t i = 0; i < count; i++) sum[i] = sum[i] / divisor;
  }
  auto* to = static_cast<Stored*>(target) + start;
  for (std::size_t i = 0; i < count; i++) to[i] = static_cast<Stored>(sum[i]);
}

template <class Stored, class Accumulator, class Operation, bool isAverage = false>
void reduce(const void* const* sources, std::uint32_t sourceCount, void* target, std::size_t count) {
  if constexpr (!isAverage) {
    if (sourceCount == 2) {
      reducePair<Stored, Operation>(static_cast<const Stored*>(sources[0]), static_cast<const Stored*>(sources[1]), static_cast<Stored*>(target), count);
      return;
    }
  }
  for (std::size_t start = 0; start < count; start += kTileElements) {
    const std::size_t left = count - start;
    reduceTile<Stored, Accumulator, Operation, isAverage>(sources, sourceCount, target, start, left < kTileElements ? left : kTileElements);
  }
}

/** Floats of 16 or 8 bits, in f32 from the first source to the last. */
template <class Format, class Operation, bool isAverage = false>
void reduceSmall(const void* const* sources, std::uint32_t sourceCount, void* target, std::size_t count) {
  using Stored = typename Format::Element;
  const auto divisor = static_cast<float>(sourceCount);
  const auto elementsOf = [=](std::uint32_t source) { return static_cast<const Stored*>(sources[source]); };
#if MUSTER_HAS_LANES
  using namespace kernels::lanes;
  // Most calls have two: their addresses stay in registers.
  const Stored* const first = elementsOf(0);
  const Stored* const second = elementsOf(sourceCount > 1 ? 1 : 0);
  auto* const to = static_cast<Stored*>(target);
  forEachVector(count, [=](std::size_t at, std::size_t lanes) {
    Floats result = load<Format>(first + at, lanes);
    if (sourceCount > 1) result = Operation::apply(result, load<Format>(second + at, lanes));
    for (std::uint32_t source = 2; source < sourceCount; source++) result = Operation::apply(result, load<Format>(elementsOf(source) + at, lanes));
    store<Format>(to + at, isAverage ? result / divisor : result, lanes);
  });
#else
  using namespace kernels::reference;
  for (std::size_t at = 0; at < count; at++) {
    float result = widen<Format>(elementsOf(0)[at]);
    for (std::uint32_t source = 1; source < sourceCount; source++) result = Operation::apply(result, widen<Format>(elementsOf(source)[at]));
    static_cast<Stored*>(target)[at] = narrow<Format>(isAverage ? result / divisor : result);
  }
#endif
}

/** Sums of integers may need more bits than these have, and averages are made of them. */
#define MUSTER_REDUCE_ROW(Stored, Wide)                                                                                    \
  {reduce<Stored, Stored, Sum>, reduce<Stored, Stored, Product>, reduce<Stored, Stored, Min>, reduce<Stored, Stored, Max>, \
   reduce<Stored, Wide, Sum, true>}
#define MUSTER_REDUCE_SMALL_ROW(Format)                                                                        \
  {reduceSmall<Format, Sum>, reduceSmall<Format, Product>, reduceSmall<Format, Min>, reduceSmall<Format, Max>, \
   reduceSmall<Format, Sum, true>}

/** In the order of muster_dtype and of muster_reduction. */
#define MUSTER_REDUCE_KERNELS                      \
  {                                                \
    MUSTER_REDUCE_ROW(float, float),               \
    MUSTER_REDUCE_SMALL_ROW(kernels::F16),         \
    MUSTER_REDUCE_SMALL_ROW(kernels::Bf16),        \
    MUSTER_REDUCE_SMALL_ROW(kernels::E4m3),        \
    MUSTER_REDUCE_SMALL_ROW(kernels::E5m2),        \
    MUSTER_REDUCE_ROW(double, double),             \
    MUSTER_REDUCE_ROW(std::int64_t, std::int64_t), \
    MUSTER_REDUCE_ROW(std::int32_t, std::int64_t), \
    MUSTER_REDUCE_ROW(std::uint8_t, std::int64_t), \
  }

}  // namespace
}  // namespace muster
