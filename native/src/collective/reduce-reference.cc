#include <cmath>

#include "collective/reduce.h"
#include "kernels/formats.h"

namespace muster {
namespace {

template <class Number>
Number combine(muster_reduction reduction, Number a, Number b) {
  switch (reduction) {
    case MUSTER_SUM:
    case MUSTER_AVERAGE: return a + b;
    case MUSTER_PRODUCT: return a * b;
    case MUSTER_MIN: return a < b ? a : b;
    case MUSTER_MAX: return a > b ? a : b;
  }
  return a;
}

template <class Number>
Number combineFloats(muster_reduction reduction, Number a, Number b) {
  const bool isExtremum = reduction == MUSTER_MIN || reduction == MUSTER_MAX;
  return isExtremum && std::isnan(a) ? a : combine(reduction, a, b);
}

/** One element of floating point, accumulated as `Number`. */
template <class Stored, class Number, class Load, class Store>
void reduceFloat(muster_reduction reduction, const void* const* sources, std::uint32_t sourceCount, void* target, std::size_t at, Load load, Store store) {
  Number result = load(static_cast<const Stored*>(sources[0])[at]);
  for (std::uint32_t source = 1; source < sourceCount; source++) {
    result = combineFloats<Number>(reduction, result, load(static_cast<const Stored*>(sources[source])[at]));
  }
  static_cast<Stored*>(target)[at] = store(reduction == MUSTER_AVERAGE ? result / static_cast<Number>(sourceCount) : result);
}

/** One element that is stored as it is computed with. */
template <class Number>
void reducePlain(muster_reduction reduction, const void* const* sources, std::uint32_t sourceCount, void* target, std::size_t at) {
  const auto same = [](Number value) { return value; };
  reduceFloat<Number, Number>(reduction, sources, sourceCount, target, at, same, same);
}

/** One float of 16 or 8 bits. */
template <class Format>
void reduceSmall(muster_reduction reduction, const void* const* sources, std::uint32_t sourceCount, void* target, std::size_t at) {
  reduceFloat<typename Format::Element, float>(reduction, sources, sourceCount, target, at, kernels::reference::widen<Format>, kernels::reference::narrow<Format>);
}

/** One integer: modulo 2^64, and so modulo any smaller power of two. Signed where it matters. */
template <class Stored>
void reduceInteger(muster_reduction reduction, const void* const* sources, std::uint32_t sourceCount, void* target, std::size_t at) {
  const auto first = static_cast<std::int64_t>(static_cast<const Stored*>(sources[0])[at]);
  auto result = static_cast<std::uint64_t>(first);
  for (std::uint32_t source = 1; source < sourceCount; source++) {
    const auto value = static_cast<std::int64_t>(static_cast<const Stored*>(sources[source])[at]);
    if (reduction == MUSTER_MIN || reduction == MUSTER_MAX) {
      result = static_cast<std::uint64_t>(combine(reduction, static_cast<std::int64_t>(result), value));
    } else {
      result = combine(reduction, result, static_cast<std::uint64_t>(value));
    }
  }
  if (reduction == MUSTER_AVERAGE) result = static_cast<std::uint64_t>(static_cast<std::int64_t>(result) / static_cast<std::int64_t>(sourceCount));
  static_cast<Stored*>(target)[at] = static_cast<Stored>(result);
}

}  // namespace

void reduceReference(muster_dtype dtype, muster_reduction reduction, const void* const* sources, std::uint32_t sourceCount, void* target,
                     std::size_t count) {
  using ReduceOne = void (*)(muster_reduction, const void* const*, std::uint32_t, void*, std::size_t);
  constexpr ReduceOne kReduceOne[MUSTER_DTYPE_COUNT] = {
      reducePlain<float>,  reduceSmall<kernels::F16>,   reduceSmall<kernels::Bf16>,  reduceSmall<kernels::E4m3>,  reduceSmall<kernels::E5m2>,
      reducePlain<double>, reduceInteger<std::int64_t>, reduceInteger<std::int32_t>, reduceInteger<std::uint8_t>,
  };
  for (std::size_t at = 0; at < count; at++) kReduceOne[dtype](reduction, sources, sourceCount, target, at);
}

}  // namespace muster
