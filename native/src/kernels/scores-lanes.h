/** The vector versions of scores.h. */
#pragma once

#include "kernels/math-lanes.h"
#include "kernels/scores.h"

namespace muster::kernels::lanes {
namespace {

/** Calls `body(key, sees)` for the keys that any of the queries of the vector at `query` see, with a mask of those that do, or true for all. @returns the key after them. */
template <class Body>
[[gnu::always_inline]] inline std::size_t forEachSeen(const ScoreBlock& block, std::size_t query, Body&& body) {
  const std::size_t byAll = block.seenBy(query);
  const std::size_t byAny = block.seenBy(query + kLanes - 1);
  std::size_t key = 0;
  for (; key < byAll; key++) body(key, std::true_type());
  for (; key < byAny; key++) body(key, laneNumbers() >= static_cast<std::int32_t>(static_cast<std::ptrdiff_t>(key) + block.lag - static_cast<std::ptrdiff_t>(query)));
  return key;
}

/** Of a vector the lanes that see the key, and `rest` in the others. */
[[gnu::always_inline]] inline Floats seen(std::true_type, Floats value, float) { return value; }
[[gnu::always_inline]] inline Floats seen(Masks sees, Floats value, float rest) { return sees ? value : splat(rest); }

/** Products of scale and score are rounded as the largest of them was: fused, those that are far from 0 would have powers beyond 1. */
inline void powers(const ScoreBlock& block, const QuerySums& sums) {
  for (std::size_t query = 0; query < block.queries; query += kLanes) {
    float* const scores = block.scores + query;
    const Floats before = load<F32>(sums.largest + query);
    Floats largest = before;
    forEachSeen(block, query, [&](std::size_t key, auto sees) __attribute__((always_inline)) {
      largest = larger(seen(sees, block.scale * load<F32>(scores + key * block.stride), -__builtin_inff()), largest);
    });
    Floats sum{};
    std::size_t unseen = forEachSeen(block, query, [&](std::size_t key, auto sees) __attribute__((always_inline)) {
      const Floats power = seen(sees, exponential(block.scale * load<F32>(scores + key * block.stride) - largest), 0);
      sum += power;
      store<F32>(scores + key * block.stride, power);
    });
    for (; unseen < block.keys; unseen++) store<F32>(scores + unseen * block.stride, Floats{});
    const Floats correction = exponential(before - largest);
    store<F32>(sums.largest + query, largest);
    store<F32>(sums.sums + query, multiplyAdd(load<F32>(sums.sums + query), correction, sum));
    store<F32>(sums.corrections + query, correction);
  }
}

inline void slopes(const ScoreBlock& block, const QueryShares& shares) {
  for (std::size_t query = 0; query < block.queries; query += kLanes) {
    float* const scores = block.scores + query;
    float* const gradients = shares.gradients + query;
    const Floats logSum = load<F32>(shares.logSums + query);
    const Floats product = load<F32>(shares.products + query);
    std::size_t unseen = forEachSeen(block, query, [&](std::size_t key, auto sees) __attribute__((always_inline)) {
      const std::size_t at = key * block.stride;
      const Floats share = seen(sees, exponential(block.scale * load<F32>(scores + at) - logSum), 0);
      store<F32>(scores + at, share);
      store<F32>(gradients + at, seen(sees, share * (load<F32>(gradients + at) - product) * block.scale, 0));
    });
    for (; unseen < block.keys; unseen++) {
      store<F32>(scores + unseen * block.stride, Floats{});
      store<F32>(gradients + unseen * block.stride, Floats{});
    }
  }
}

inline void scaleRows(float* rows, std::size_t stride, std::size_t columns, const float* factors, std::size_t count) {
  for (std::size_t row = 0; row < count; row++) {
    float* const numbers = rows + row * stride;
    forEachVector(columns, [&](std::size_t at, std::size_t lanes) { store<F32>(numbers + at, load<F32>(numbers + at, lanes) * factors[row], lanes); });
  }
}

}  // namespace
}  // namespace muster::kernels::lanes
