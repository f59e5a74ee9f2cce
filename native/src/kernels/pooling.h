/**
 * The largest numbers of a row of windows. What they are for: muster/convolution.h.
 *
 * As many windows as a vector has lanes go through their taps together, so what was found so far stays in registers, and each pixel is read once for each window that it is in. No
 * branches, which random numbers would lead astray half of the time: what is larger takes the place by a mask.
 */
#pragma once

#include <cstddef>
#include <cstdint>

namespace muster::kernels {

/** One column of a window. */
struct ColumnTap {
  /** From where a line's windows begin in it, the first at 0, to their pixels. */
  std::ptrdiff_t shift;
  /** The windows [begin, end) of a row whose pixel lies inside the image. */
  std::size_t begin;
  std::size_t end;
};

/** Neighbouring windows, and the lines of an image that they see. */
struct WindowRow {
  std::size_t firstLine;
  std::size_t lineStep;
  std::size_t lines;
  const ColumnTap* taps;
  std::size_t tapCount;
  /** From a window to the next. */
  std::size_t stride;
  std::size_t windows;
};

namespace reference {

/** Each window's largest number and its place in the image: a NaN is larger than all, the first of equals counts, and -1 is the place where there is none. */
inline void poolLargest(const WindowRow& row, const float* image, float* largest, std::int32_t* places) {
  for (std::size_t window = 0; window < row.windows; window++) {
    float most = 0;
    std::int32_t place = -1;
    for (std::size_t line = 0; line < row.lines; line++) {
      for (const ColumnTap* tap = row.taps; tap < row.taps + row.tapCount; tap++) {
        if (window < tap->begin || window >= tap->end) continue;
        const auto pixel = static_cast<std::ptrdiff_t>(row.firstLine + line * row.lineStep + window * row.stride) + tap->shift;
        const float value = image[pixel];
        if (place >= 0 && !(value > most) && !(value != value && most == most)) continue;
        most = value;
        place = static_cast<std::int32_t>(pixel);
      }
    }
    largest[window] = most;
    places[window] = place;
  }
}

}  // namespace reference
}  // namespace muster::kernels
