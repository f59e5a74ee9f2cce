/** Windows over images: what is checked of them, and where their numbers lie. */
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "muster/convolution.h"

namespace muster::kernels {

/** @returns whether `elements` counts factors as one product, which must not overflow. */
template <class... Factor>
bool productOf(std::uint64_t& elements, Factor... factors) {
  elements = 1;
  return !(__builtin_mul_overflow(elements, static_cast<std::uint64_t>(factors), &elements) || ...);
}

/** That images have numbers, and windows positions. */
muster_code checkImages(const muster_images& images);

/** What a call works with, beside the shape. */
struct Positions {
  explicit Positions(const muster_images& images)
      : rows(muster_window_positions(&images.vertical, images.rows)), columns(muster_window_positions(&images.horizontal, images.columns)) {}
  std::uint64_t count() const { return rows * columns; }

  std::uint64_t rows;
  std::uint64_t columns;
};

/** The range of positions whose number at `tap` of the window lies inside a side of `size`, and at which index the first of them does. */
struct InsideRange {
  InsideRange(const muster_window& window, std::uint64_t size, std::uint64_t tap, std::uint64_t positions) {
    const std::uint64_t shift = tap * window.dilation;
    begin = shift >= window.padding ? 0 : std::min(positions, (window.padding - shift + window.stride - 1) / window.stride);
    end = size + window.padding <= shift ? 0 : std::min(positions, (size + window.padding - shift - 1) / window.stride + 1);
    end = std::max(begin, end);
  }
  std::uint64_t begin;
  std::uint64_t end;
};

/** Those of all taps along one side. The first ones are worked out once: their divisions take longer than a short row. */
class TapRanges {
 public:
  TapRanges(const muster_window& window, std::uint64_t size, std::uint64_t positions) : window_(window), size_(size), positions_(positions) {
    for (std::uint64_t tap = 0; tap < std::min(window.kernel, kKept); tap++) kept_.emplace_back(window, size, tap, positions);
  }
  InsideRange operator[](std::uint64_t tap) const { return tap < kept_.size() ? kept_[tap] : InsideRange(window_, size_, tap, positions_); }

 private:
  /** More than windows have, but for those that someone makes up. */
  static constexpr std::uint64_t kKept = 64;

  muster_window window_;
  std::uint64_t size_;
  std::uint64_t positions_;
  std::vector<InsideRange> kept_;
};

/** The index in the image of the number at `tap` of the window at `position`, which is inside. */
inline std::uint64_t indexOf(const muster_window& window, std::uint64_t position, std::uint64_t tap) { return position * window.stride + tap * window.dilation - window.padding; }

}  // namespace muster::kernels
