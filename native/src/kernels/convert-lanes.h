/** The vector versions of convert.h. */
#pragma once

#include "kernels/lanes.h"

namespace muster::kernels::lanes {
namespace {

/** Arithmetic quiets NaNs by itself; a conversion has none. */
template <class Source>
[[gnu::always_inline]] inline Floats loadQuiet(const typename Source::Element* from) {
  const Floats value = load<Source>(from);
  if constexpr (Source::kDtype != MUSTER_BF16) return value;
  return floats(value != value ? words(value) | kF32Quiet : words(value));
}

/** The same of the first `count` numbers. */
template <class Source>
inline Floats loadPartQuiet(const typename Source::Element* from, std::size_t count) {
  typename Source::Element elements[kLanes] = {};
  std::memcpy(elements, from, count * sizeof *elements);
  return loadQuiet<Source>(elements);
}

/** A page: on one stream, a tenth less time than without; nearer is no better than that. */
constexpr std::size_t kSourceAheadBytes = 4096;

template <class Source, class Target>
void convert(const void* source, void* target, std::size_t elements, bool past) {
  const auto* from = static_cast<const typename Source::Element*>(source);
  auto* to = static_cast<typename Target::Element*>(target);
  std::size_t at = 0;
  if (past) {
    constexpr std::size_t alignment = kLanes * sizeof *to;
    const std::size_t head = std::min(elements, (alignment - reinterpret_cast<std::uintptr_t>(to) % alignment) % alignment / sizeof *to);
    if (head > 0) store<Target>(to, loadPartQuiet<Source>(from, head), head);
#pragma GCC unroll 4
    for (at = head; at + kLanes <= elements; at += kLanes) {
      prefetch<kSourceAheadBytes>(from + at);
      stream<Target>(to + at, loadQuiet<Source>(from + at));
    }
    endStream();
  }
  for (; at + kLanes <= elements; at += kLanes) store<Target>(to + at, loadQuiet<Source>(from + at));
  if (at < elements) store<Target>(to + at, loadPartQuiet<Source>(from + at, elements - at), elements - at);
}

}  // namespace
}  // namespace muster::kernels::lanes
