/**
 * Pooling, an image of one channel after another. What it does: muster/convolution.h.
 *
 * Memory decides: b bytes read for each number of the input and b written for each result, 4 more for a place. Images of 16 bits are widened as a whole
 * first, and results rounded once. Windows are gone through tap by tap, so that the innermost loop runs along a row.
 */
#include <atomic>
#include <cerrno>

#include "kernels/check.h"
#include "kernels/images.h"
#include "kernels/layer-calls.h"
#include "kernels/pieces.h"
#include "kernels/table.h"
#include "kernels/workspace.h"
#include "muster/convolution.h"
#include "status.h"

namespace muster::kernels {
namespace {

/** A thread's images in f32, where their dtype is another: that of the input, then that of the results. */
thread_local Workspace planes;

/** The windows of a call. */
struct Windows {
  explicit Windows(const muster_images& of)
      : images(of), positions(of), rows(of.vertical, of.rows, positions.rows), columns(of.horizontal, of.columns, positions.columns) {}

  const muster_images& images;
  Positions positions;
  /** Which positions have each tap inside the image. */
  TapRanges rows;
  TapRanges columns;
};

/** Calls `body(results, pixels, count)` for each tap and row: `count` results from the first on, and the pixels under them, a stride apart. */
template <class Body>
void forEachTap(const Windows& windows, Body body) {
  const auto& [images, positions, rowRanges, columnRanges] = windows;
  const muster_window& vertical = images.vertical;
  const muster_window& horizontal = images.horizontal;
  for (std::size_t row = 0; row < positions.rows; row++) {
    for (std::size_t tapRow = 0; tapRow < vertical.kernel; tapRow++) {
      const InsideRange rows = rowRanges[tapRow];
      if (row < rows.begin || row >= rows.end) continue;
      const std::size_t line = indexOf(vertical, row, tapRow) * images.columns;
      for (std::size_t tapColumn = 0; tapColumn < horizontal.kernel; tapColumn++) {
        const InsideRange columns = columnRanges[tapColumn];
        if (columns.end > columns.begin) body(row * positions.columns + columns.begin, line + indexOf(horizontal, columns.begin, tapColumn), columns.end - columns.begin);
      }
    }
  }
}

/** Rows of windows, as the kernel takes them: worked out once for all images. */
std::vector<WindowRow> windowRows(const Windows& windows, const std::vector<ColumnTap>& taps) {
  const muster_images& images = windows.images;
  const muster_window& vertical = images.vertical;
  std::vector<WindowRow> rows;
  rows.reserve(windows.positions.rows);
  for (std::size_t row = 0; row < windows.positions.rows; row++) {
    // The lines inside the image follow each other: those above it come first, those below it last.
    const std::size_t start = row * vertical.stride;
    const std::size_t above = start >= vertical.padding ? 0 : ceilDivide(vertical.padding - start, vertical.dilation);
    const std::size_t end = std::min<std::size_t>(vertical.kernel, ceilDivide(images.rows + vertical.padding - start, vertical.dilation));
    rows.push_back({indexOf(vertical, row, above) * images.columns, vertical.dilation * images.columns, end - above, taps.data(), taps.size(), images.horizontal.stride, windows.positions.columns});
  }
  return rows;
}

/** Those that see a pixel from some position: of a window that is far wider than its images, few. */
std::vector<ColumnTap> columnTaps(const Windows& windows) {
  const muster_window& horizontal = windows.images.horizontal;
  const std::size_t reach = (windows.positions.columns - 1) * horizontal.stride;
  const std::size_t first = horizontal.padding > reach ? ceilDivide(horizontal.padding - reach, horizontal.dilation) : 0;
  const std::size_t end = std::min<std::size_t>(horizontal.kernel, ceilDivide(windows.images.columns + horizontal.padding, horizontal.dilation));
  std::vector<ColumnTap> taps;
  for (std::size_t tap = first; tap < end; tap++) {
    const InsideRange range = windows.columns[tap];
    taps.push_back({static_cast<std::ptrdiff_t>(tap * horizontal.dilation) - static_cast<std::ptrdiff_t>(horizontal.padding), range.begin, range.end});
  }
  return taps;
}

/** How many numbers a mean is made of at each position of one side: those of the image, or with the padding. */
std::vector<std::size_t> counts(const muster_window& window, std::size_t size, std::size_t positions, muster_pooling pooling) {
  const std::size_t first = pooling == MUSTER_POOL_MEAN ? window.padding : 0;
  const std::size_t end = size + window.padding + (pooling == MUSTER_POOL_MEAN ? 0 : window.padding);
  std::vector<std::size_t> result(positions);
  for (std::size_t position = 0; position < positions; position++) {
    const std::size_t start = position * window.stride;
    const std::size_t before = start >= first ? 0 : ceilDivide(first - start, window.dilation);
    result[position] = std::min<std::size_t>(window.kernel, ceilDivide(end - start, window.dilation)) - before;
  }
  return result;
}

/** 1 / the numbers that a position's mean is made of. */
std::vector<float> shares(const muster_images& images, const Positions& positions, muster_pooling pooling) {
  const std::vector<std::size_t> down = counts(images.vertical, images.rows, positions.rows, pooling), across = counts(images.horizontal, images.columns, positions.columns, pooling);
  std::vector<float> result;
  result.reserve(positions.count());
  for (const std::size_t rows : down) {
    for (const std::size_t columns : across) result.push_back(1 / static_cast<float>(rows * columns));
  }
  return result;
}

void poolMean(const Windows& windows, const float* image, const std::vector<float>& share, float* results) {
  std::fill_n(results, windows.positions.count(), 0.0f);
  const std::size_t stride = windows.images.horizontal.stride;
  forEachTap(windows, [&](std::size_t first, std::size_t pixel, std::size_t count) {
    for (std::size_t index = 0; index < count; index++) results[first + index] += image[pixel + index * stride];
  });
  for (std::size_t index = 0; index < windows.positions.count(); index++) results[index] *= share[index];
}

void spreadMean(const Windows& windows, const float* gradient, const std::vector<float>& share, float* image) {
  const std::size_t stride = windows.images.horizontal.stride;
  forEachTap(windows, [&](std::size_t first, std::size_t pixel, std::size_t count) {
    for (std::size_t index = 0; index < count; index++) image[pixel + index * stride] += gradient[first + index] * share[first + index];
  });
}

/**
 * Calls `body(plane, from, to)` for every image of one channel, with `read` numbers of `source` and room for `written` of `target` in f32.
 * @returns a failure where there is no memory for images of 16 bits.
 */
template <class Body>
muster_code forEachPlane(std::size_t count, std::size_t read, std::size_t written, const muster_tensor& source, const muster_tensor& target, std::uint32_t threads, Body body) {
  std::atomic<bool> done = true;
  const auto one = [&](std::size_t plane) {
    if (source.dtype == MUSTER_F32) {
      body(plane, static_cast<const float*>(elementAt(source, plane * read)), static_cast<float*>(elementAt(target, plane * written)));
      return;
    }
    float* const from = planes.reserve(read + written);
    if (from == nullptr) {
      done.store(false, std::memory_order_relaxed);
      return;
    }
    table().convert[source.dtype][MUSTER_F32](elementAt(source, plane * read), from, read, false);
    body(plane, static_cast<const float*>(from), from + read);
    table().convert[MUSTER_F32][target.dtype](from + read, elementAt(target, plane * written), written, false);
  };
  // Small images share an item: taking one costs more than they do.
  const std::size_t together = std::max<std::size_t>(1, kPieceElements / (read + written));
  parallelFor(threadCount(threads), ceilDivide(count, together), [&](std::size_t item) {
    for (std::size_t plane = item * together; plane < std::min(count, (item + 1) * together); plane++) one(plane);
  });
  return done ? MUSTER_OK : MUSTER_FAIL(MUSTER_SYSTEM_ERROR, ENOMEM, "no memory for an image in f32");
}

}  // namespace
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_pool(const muster_images* images, muster_pooling pooling, const muster_tensor* input, const muster_tensor* result, int32_t* places, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkPool(*images, pooling, *input, *result, places); code != MUSTER_OK) return code;
  if (result->elements == 0) return MUSTER_OK;
  const Windows windows(*images);
  const Positions& positions = windows.positions;
  const std::vector<float> share = places != nullptr ? std::vector<float>() : shares(*images, positions, pooling);
  const std::vector<ColumnTap> taps = places == nullptr ? std::vector<ColumnTap>() : columnTaps(windows);
  const std::vector<WindowRow> rows = places == nullptr ? std::vector<WindowRow>() : windowRows(windows, taps);
  return forEachPlane(images->batches * images->channels, images->rows * images->columns, positions.count(), *input, *result, threads, [&](std::size_t plane, const float* from, float* to) {
    if (places != nullptr) {
      std::size_t first = 0;
      for (const WindowRow& row : rows) {
        table().poolLargest(row, from, to + first, places + plane * positions.count() + first);
        first += positions.columns;
      }
    } else {
      poolMean(windows, from, share, to);
    }
  });
}

muster_code muster_pool_backward(const muster_images* images, muster_pooling pooling, const muster_tensor* gradient, const int32_t* places, const muster_tensor* input_gradient,
                                 uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkPoolBackward(*images, pooling, *gradient, places, *input_gradient); code != MUSTER_OK) return code;
  if (gradient->elements == 0) return MUSTER_OK;
  const Windows windows(*images);
  const Positions& positions = windows.positions;
  const std::size_t pixels = images->rows * images->columns;
  for (std::size_t index = 0; places != nullptr && index < gradient->elements; index++) {
    if (places[index] >= 0 && static_cast<std::size_t>(places[index]) < pixels) continue;
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "place %zu is %d, and an image has %zu numbers", index, places[index], pixels);
  }
  const std::vector<float> share = places != nullptr ? std::vector<float>() : shares(*images, positions, pooling);
  return forEachPlane(images->batches * images->channels, positions.count(), pixels, *gradient, *input_gradient, threads, [&](std::size_t plane, const float* from, float* to) {
    std::fill_n(to, pixels, 0.0f);
    if (places == nullptr) return spreadMean(windows, from, share, to);
    for (std::size_t index = 0; index < positions.count(); index++) {
      const auto place = static_cast<std::size_t>(places[plane * positions.count() + index]);
      if (place < pixels) to[place] += from[index];  // once more: another thread may have written there
    }
  });
}
