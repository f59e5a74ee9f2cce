/**
 * f32 to and from a storage format, on one piece. What it does: muster/convert.h.
 *
 * Moves 4 + 2 bytes an element for the 16-bit formats and 4 + 1 for FP8; 0 to 12 integer operations an element, so memory alone
 * decides. Versions tried: see the table in bench/convert.cc's records. Plain stores read each line of the target before they overwrite it
 * (8 bytes moved instead of 6); streaming ones do not.
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
