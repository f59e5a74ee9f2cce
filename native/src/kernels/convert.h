/**
 * f32 to and from a storage format, on one piece. What it does: muster/convert.h.
 *
 * Moves 4 + 2 bytes an element for the 16-bit formats and 4 + 1 for FP8; 1 to 16 operations on a vector of elements, so memory alone
 * decides. Versions tried, as parts of memcpy's bandwidth on 128 MB (bench/kernels-memory.cc, one thread of a busy Zen 5):
 *   plain stores read each line of the target before they overwrite it: 8 bytes moved for 16-bit targets instead of 6
 *   streaming stores from 4 MB on: 1.08 to 1.35
 *   the source asked for a page ahead: f32 to E4M3 0.90 without and 0.98 with it, f32 to bf16 0.99 and 1.19
 *   E4M3 widened by one multiplication of an f32, which is slow on denormals: 0.50; multiplied as an f16 made f32, which has none
 * and in the first cache, in numbers a nanosecond:
 *   f32 to FP8 by integers, normal and denormal numbers beside each other: 12.5; by adding what AVX-512 looks up for the exponent: 18
 *   E4M3 to f32 by integers: 7.8; as f16: 13.2
 */
#pragma once

#include "kernels/formats.h"

namespace muster::kernels::reference {

template <class Source, class Target>
void convert(const void* source, void* target, std::size_t elements, bool) {
  const auto* from = static_cast<const typename Source::Element*>(source);
  auto* to = static_cast<typename Target::Element*>(target);
  for (std::size_t index = 0; index < elements; index++) write<Target>(to, index, read<Source>(from, index));
}

}  // namespace muster::kernels::reference
