#include <cmath>

#include "collective/half-float.h"
#include "collective/reduce.h"

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
Stored reduceFloat(muster_reduction reduction, const void* const* sources, std::uint32_t sourceCount, std::size_t at, Load load, Store store) {
  Number result = load(static_cast<const Stored*>(sources[0])[at]);
  for (std::uint32_t source = 1; source < sourceCount; source++) {
    result = combineFloats<Number>(reduction, result, load(static_cast<const Stored*>(sources[source])[at]));
  }
  return store(reduction == MUSTER_AVERAGE ? result / static_cast<Number>(sourceCount) : result);
}

/** One integer: modulo 2^64, and so modulo any smaller power of two. Signed where it matters. */
template <class Stored>
Stored reduceInteger(muster_reduction reduction, const void* const* sources, std::uint32_t sourceCount, std::size_t at) {
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
  if (reduction != MUSTER_AVERAGE) return static_cast<Stored>(result);
  return static_cast<Stored>(static_cast<std::int64_t>(result) / static_cast<std::int64_t>(sourceCount));
}

}  // namespace

void reduceReference(muster_dtype dtype, muster_reduction reduction, const void* const* sources, std::uint32_t sourceCount, void* target,
                     std::size_t count) {
  const auto same = [](auto value) { return value; };
  for (std::size_t i = 0; i < count; i++) {
    switch (dtype) {
      case MUSTER_F64: static_cast<double*>(target)[i] = reduceFloat<double, double>(reduction, sources, sourceCount, i, same, same); break;
      case MUSTER_F32: static_cast<float*>(target)[i] = reduceFloat<float, float>(reduction, sources, sourceCount, i, same, same); break;
      case MUSTER_F16:
        static_cast<std::uint16_t*>(target)[i] = reduceFloat<std::uint16_t, float>(reduction, sources, sourceCount, i, float16ToFloat, floatToFloat16);
        break;
      case MUSTER_BF16:
        static_cast<std::uint16_t*>(target)[i] = reduceFloat<std::uint16_t, float>(reduction, sources, sourceCount, i, bfloat16ToFloat, floatToBfloat16);
        break;
      case MUSTER_I64: static_cast<std::int64_t*>(target)[i] = reduceInteger<std::int64_t>(reduction, sources, sourceCount, i); break;
      case MUSTER_I32: static_cast<std::int32_t*>(target)[i] = reduceInteger<std::int32_t>(reduction, sources, sourceCount, i); break;
      case MUSTER_U8: static_cast<std::uint8_t*>(target)[i] = reduceInteger<std::uint8_t>(reduction, sources, sourceCount, i); break;
    }
  }
}

}  // namespace muster
