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

template <class Format>
double sumOfSquares(const void* gradients, std::size_t elements) {
  constexpr std::size_t vectors = kSumLanes / kLanes;
  const auto* data = static_cast<const typename Format::Element*>(gradients);
  Doubles low[vectors] = {};
  Doubles high[vectors] = {};
  const auto add = [&](std::size_t vector, Floats gradient) {
    const Doubles first = widenLow(gradient);
    const Doubles second = widenHigh(gradient);
    low[vector] += first * first;
    high[vector] += second * second;
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

}  // namespace
}  // namespace muster::kernels::lanes
