/** The vector versions of elementwise.h. */
#pragma once

#include "kernels/elementwise.h"
#include "kernels/gradients-lanes.h"
#include "kernels/math-lanes.h"

namespace muster::kernels::lanes {
namespace {

template <class Format>
void combine(muster_pairwise operation, const void* first, const void* second, void* result, std::size_t elements) {
  const auto* a = static_cast<const typename Format::Element*>(first);
  const auto* b = static_cast<const typename Format::Element*>(second);
  auto* to = static_cast<typename Format::Element*>(result);
  const auto each = [&](auto apply) {
    forEachVector(elements, [&](std::size_t at, std::size_t count) { store<Format>(to + at, apply(load<Format>(a + at, count), load<Format>(b + at, count)), count); });
  };
  if (operation == MUSTER_ADD) {
    each([](Floats x, Floats y) { return x + y; });
  } else {
    each([](Floats x, Floats y) { return x * y; });
  }
}

template <class Format>
void activateAll(muster_activation activation, const void* input, void* result, std::size_t elements) {
  const auto* from = static_cast<const typename Format::Element*>(input);
  auto* to = static_cast<typename Format::Element*>(result);
  withActivation(activation, [&](auto which) {
    forEachVector(elements, [&](std::size_t at, std::size_t count) { store<Format>(to + at, activate<which()>(load<Format>(from + at, count)), count); });
  });
}

template <class Format>
void activateBackward(muster_activation activation, const void* input, const void* gradient, void* result, std::size_t elements) {
  const auto* from = static_cast<const typename Format::Element*>(input);
  const auto* upper = static_cast<const typename Format::Element*>(gradient);
  auto* to = static_cast<typename Format::Element*>(result);
  withActivation(activation, [&](auto which) {
    forEachVector(elements, [&](std::size_t at, std::size_t count) {
      store<Format>(to + at, backward<which()>(load<Format>(from + at, count), load<Format>(upper + at, count)), count);
    });
  });
}

template <class Format>
double total(const void* input, std::size_t elements) {
  return sumInLanes<Format>(input, elements, [](Doubles value) { return value; });
}

template <class Format>
double largest(const void* input, std::size_t elements) {
  const auto* from = static_cast<const typename Format::Element*>(input);
  Floats most = splat(-__builtin_inff());
  forEachVector(elements, [&](std::size_t at, std::size_t count) {
    const Floats value = load<Format>(from + at, count);
    const Floats whole = count == kLanes ? value : withRest(value, count, -__builtin_inff());
    most = most >= whole ? most : whole != whole || most == most ? whole : most;  // a NaN is kept
  });
  float largest = most[0];
  for (std::size_t lane = 1; lane < kLanes; lane++) largest = largest >= most[lane] || largest != largest ? largest : most[lane];
  return largest;
}

template <class Format>
void addTo(float* sums, const void* addend, std::size_t elements) {
  const auto* from = static_cast<const typename Format::Element*>(addend);
  forEachVector(elements, [&](std::size_t at, std::size_t count) { store<F32>(sums + at, load<F32>(sums + at, count) + load<Format>(from + at, count), count); });
}

}  // namespace
}  // namespace muster::kernels::lanes
