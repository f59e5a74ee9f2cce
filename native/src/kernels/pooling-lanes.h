/** The vector version of pooling.h. */
#pragma once

#include <algorithm>

#include "kernels/lanes.h"
#include "kernels/pooling.h"

namespace muster::kernels::lanes {
namespace {

/** Every `stride`-th of the numbers from `from` on, `count` of them, into the lanes from `first` on. Nothing else is read. */
[[gnu::always_inline]] inline Floats loadEvery(std::size_t stride, const float* from, std::size_t first, std::size_t count) {
  if (first == 0 && stride == 1) return load<F32>(from, count);
  if (first == 0 && stride == 2) {
    const std::size_t span = 2 * count - 1;
    const Floats near = load<F32>(from, std::min(kLanes, span));
    const Floats far = span <= kLanes ? Floats{} : loadPart<F32>(from + kLanes, span - kLanes);
    return __builtin_shuffle(near, far, laneNumbers() * 2);
  }
  float every[kLanes] = {};
  for (std::size_t lane = 0; lane < count; lane++) every[first + lane] = from[lane * stride];
  return loadVector<Floats>(every);
}

inline void poolLargest(const WindowRow& row, const float* image, float* largest, std::int32_t* places) {
  const Masks numbers = laneNumbers();
  forEachVector(row.windows, [&](std::size_t at, std::size_t count) {
    Floats most{};
    Masks place = Masks{} - 1;
    for (std::size_t line = 0; line < row.lines; line++) {
      const auto lineStart = static_cast<std::ptrdiff_t>(row.firstLine + line * row.lineStep + at * row.stride);
      for (const ColumnTap* tap = row.taps; tap < row.taps + row.tapCount; tap++) {
        const std::size_t begin = std::max(tap->begin, at) - at;
        const std::size_t end = std::min(tap->end, at + count) - at;
        if (tap->end <= at || begin >= end) continue;
        const std::ptrdiff_t pixel = lineStart + tap->shift;
        const Floats value = loadEvery(row.stride, image + pixel + begin * row.stride, begin, end - begin);
        const Masks inside = (numbers >= static_cast<std::int32_t>(begin)) & (numbers < static_cast<std::int32_t>(end));
        const Masks isLarger = inside & ((place < 0) | (value > most) | ((value != value) & (most == most)));
        most = isLarger ? value : most;
        place = isLarger ? numbers * static_cast<std::int32_t>(row.stride) + static_cast<std::int32_t>(pixel) : place;
      }
    }
    store<F32>(largest + at, most, count);
    store<F32>(reinterpret_cast<float*>(places + at), reinterpret_cast<Floats>(place), count);
  });
}

}  // namespace
}  // namespace muster::kernels::lanes
