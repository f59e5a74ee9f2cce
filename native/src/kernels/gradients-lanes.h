/** The vector versions of gradients.h. */
#pragma once

#include "kernels/gradients.h"
#include "kernels/lanes.h"

namespace muster::kernels::lanes {
namespace {

template <class Format>
bool unscale(void* gradients, std::size_t elements, float inverse) {
  auto* data = static_cast<typename Format::Element*>(gradients);
  Floats zeros{};  // until something that is not finite is multiplied by 0
  forEachVector(elements, [&](std::size_t at, std::size_t count) {
    const Floats gradient = load<Format>(data + at, count);
    zeros += gradient * 0.0f;
    store<Format>(data + at, gradient * inverse, count);
  });
  bool finite = true;
  for (std::size_t lane = 0; lane < kLanes; lane++) finite = finite && zeros[lane] == 0;
  return finite;
}

/** The sum of `map` of all numbers, in kSumLanes sums side by side. `map` must take 0 to 0. */
template <class Format, class Map>
[[gnu::always_inline]] inline double sumInLanes(const void* input, std::size_t elements, Map map) {
  constexpr std::size_t vectors = kSumLanes / kLanes;
  const auto* data = static_cast<const typename Format::Element*>(input);
  Doubles low[vectors] = {};
  Doubles high[vectors] = {};
  const auto add = [&](std::size_t vector, Floats value) {
    low[vector] += map(widenLow(value));
    high[vector] += map(widenHigh(value));
  };
  std::size_t at = 0;
  for (; at + kSumLanes <= elements; at += kSumLanes) {
    for (std::size_t vector = 0; vector < vectors; vector++) add(vector, load<Format>(data + at + vector * kLanes));
  }
  for (std::size_t vector = 0; at < elements; vector++) {
    const std::size_t count = std::min(kLanes, elements - at);
    add(vector, load<Format>(data + at, count));
    at += count;
  }
  double total = 0;
  for (std::size_t vector = 0; vector < vectors; vector++) {
    for (std::size_t lane = 0; lane < kLanes / 2; lane++) total += low[vector][lane];
    for (std::size_t lane = 0; lane < kLanes / 2; lane++) total += high[vector][lane];
  }
  return total;
}

template <class Format>
double sumOfSquares(const void* gradients, std::size_t elements) {
  return sumInLanes<Format>(gradients, elements, [](Doubles value) { return value * value; });
}

}  // namespace
}  // namespace muster::kernels::lanes
