/**
 * Unscaling, squares and scaling of gradients, on one piece. What they do: muster/gradients.h.
 *
 * Bytes an element, for f32 and 16 bits: unscale and scale 8 and 4 (read and written in place), squares 4 and 2. At most 2 FLOPs: memory decides.
 * Squares are summed in kSumLanes sums of f64 side by side, whatever the width of the vectors; the square of a float is exact in f64.
 */
#pragma once

#include "kernels/formats.h"

namespace muster::kernels {

inline constexpr std::size_t kSumLanes = 16;

namespace reference {

/** @returns whether all were finite before. */
template <class Format>
bool unscale(void* gradients, std::size_t elements, float inverse) {
  auto* data = static_cast<typename Format::Element*>(gradients);
  bool finite = true;
  for (std::size_t index = 0; index < elements; index++) {
    const float gradient = read<Format>(data, index);
    finite = finite && std::isfinite(gradient);
    write<Format>(data, index, gradient * inverse);
  }
  return finite;
}

template <class Format>
double sumOfSquares(const void* gradients, std::size_t elements) {
  const auto* data = static_cast<const typename Format::Element*>(gradients);
  double sums[kSumLanes] = {};
  for (std::size_t index = 0; index < elements; index++) {
    const double gradient = read<Format>(data, index);
    sums[index % kSumLanes] += gradient * gradient;
  }
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace reference
}  // namespace muster::kernels
