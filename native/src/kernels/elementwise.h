/**
 * Sums, products and activations, number by number, and summaries, on one piece. What they do: muster/layers.h.
 *
 * Bytes an element of b bytes: combine 3b, activate 2b, backward 3b, summaries b. Up to about 50 FLOPs for GELU and its slope, which at 16 lanes is
 * still less than memory takes.
 */
#pragma once

#include <limits>

#include "kernels/activation.h"
#include "kernels/formats.h"
#include "kernels/gradients.h"
#include "muster/layers.h"

namespace muster::kernels::reference {

template <class Format>
void combine(muster_pairwise operation, const void* first, const void* second, void* result, std::size_t elements) {
  using Element = typename Format::Element;
  for (std::size_t index = 0; index < elements; index++) {
    const float a = read<Format>(static_cast<const Element*>(first), index);
    const float b = read<Format>(static_cast<const Element*>(second), index);
    write<Format>(static_cast<Element*>(result), index, operation == MUSTER_ADD ? a + b : a * b);
  }
}

template <class Format>
void activateAll(muster_activation activation, const void* input, void* result, std::size_t elements) {
  using Element = typename Format::Element;
  for (std::size_t index = 0; index < elements; index++) {
    write<Format>(static_cast<Element*>(result), index, activate(activation, read<Format>(static_cast<const Element*>(input), index)));
  }
}

template <class Format>
void activateBackward(muster_activation activation, const void* input, const void* gradient, void* result, std::size_t elements) {
  using Element = typename Format::Element;
  for (std::size_t index = 0; index < elements; index++) {
    const float x = read<Format>(static_cast<const Element*>(input), index);
    write<Format>(static_cast<Element*>(result), index, backward(activation, x, read<Format>(static_cast<const Element*>(gradient), index)));
  }
}

/** In the order of sumOfSquares. */
template <class Format>
double total(const void* input, std::size_t elements) {
  double sums[kSumLanes] = {};
  for (std::size_t index = 0; index < elements; index++) sums[index % kSumLanes] += read<Format>(static_cast<const typename Format::Element*>(input), index);
  double sum = 0;
  for (const double one : sums) sum += one;
  return sum;
}

template <class Format>
double largest(const void* input, std::size_t elements) {
  double largest = -std::numeric_limits<double>::infinity();
  for (std::size_t index = 0; index < elements; index++) {
    const double value = read<Format>(static_cast<const typename Format::Element*>(input), index);
    largest = value > largest || std::isnan(value) ? value : largest;
    if (std::isnan(largest)) break;
  }
  return largest;
}

/** sums += addend, for f32 sums. */
template <class Format>
void addTo(float* sums, const void* addend, std::size_t elements) {
  for (std::size_t index = 0; index < elements; index++) sums[index] += read<Format>(static_cast<const typename Format::Element*>(addend), index);
}

}  // namespace muster::kernels::reference
