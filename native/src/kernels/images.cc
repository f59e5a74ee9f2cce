#include "kernels/images.h"

#include <cinttypes>

#include "status.h"

namespace muster::kernels {
namespace {

/** So that no product of two numbers overflows, and places fit an int32. */
constexpr std::uint64_t kSideMax = std::uint64_t{1} << 31;

muster_code checkSide(const muster_window& window, std::uint64_t size, const char* name) {
  if (std::max({window.kernel, window.stride, window.padding, window.dilation, window.overhang, size}) >= kSideMax) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "a number of the images' %s is 2^31 or more", name);
  }
  if (window.kernel == 0 || window.stride == 0 || window.dilation == 0) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "the window over %s has a kernel of %" PRIu64 ", a stride of %" PRIu64 " and a dilation of %" PRIu64 ": each must be 1 or more", name,
                       window.kernel, window.stride, window.dilation);
  }
  if (muster_window_positions(&window, size) > 0) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "a window over %" PRIu64 " numbers does not fit images of %" PRIu64 " %s, padded by %" PRIu64, window.dilation * (window.kernel - 1) + 1, size,
                     name, window.padding);
}

}  // namespace

muster_code checkImages(const muster_images& images) {
  if (const muster_code code = checkSide(images.vertical, images.rows, "rows"); code != MUSTER_OK) return code;
  if (const muster_code code = checkSide(images.horizontal, images.columns, "columns"); code != MUSTER_OK) return code;
  const Positions positions(images);
  std::uint64_t elements;
  if (productOf(elements, images.batches, images.channels, images.rows, images.columns) && productOf(elements, images.batches, images.channels, positions.rows, positions.columns) &&
      images.rows * images.columns < kSideMax) {
    return MUSTER_OK;
  }
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "images of %" PRIu64 " x %" PRIu64 " x %" PRIu64 " x %" PRIu64 " are too large", images.batches, images.channels, images.rows, images.columns);
}

}  // namespace muster::kernels

uint64_t muster_window_positions(const muster_window* window, uint64_t size) {
  const uint64_t reach = window->dilation * (window->kernel - 1);
  const uint64_t padded = size + 2 * window->padding + window->overhang;
  return size == 0 || padded <= reach ? 0 : (padded - reach - 1) / window->stride + 1;
}
