/** The vector versions of convert.h. */
#pragma once

#include "kernels/lanes.h"

namespace muster::kernels::lanes {
namespace {

template <class Source, class Target>
void convert(const void* source, void* target, std::size_t elements, bool past) {
  const auto* from = static_cast<const typename Source::Element*>(source);
  auto* to = static_cast<typename Target::Element*>(target);
  std::size_t at = 0;
  if (past) {
    constexpr std::size_t alignment = kLanes * sizeof *to;
    const std::size_t head = std::min(elements, (alignment - reinterpret_cast<std::uintptr_t>(to) % alignment) % alignment / sizeof *to);
    if (head > 0) store<Target>(to, loadPart<Source>(from, head), head);
    for (at = head; at + kLanes <= elements; at += kLanes) stream<Target>(to + at, load<Source>(from + at));
    endStream();
  }
  forEachVector(elements - at, [&](std::size_t offset, std::size_t count) {
    store<Target>(to + at + offset, load<Source>(from + at + offset, count), count);
  });
}

}  // namespace
}  // namespace muster::kernels::lanes
