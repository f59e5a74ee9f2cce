/**
 * Convolutions by way of matrix products: a strip of positions after another, the numbers under the window are copied into a matrix of patches (im2col) that
 * stays in the second cache, and multiplied there.
 *
 *   result     [channels x positions]  = weight [channels x taps] * patches [taps x positions]         units: image, group, strip
 *   patches'   [taps x positions]      = weight^T * gradient, added up where they came from            units: image, group, block of channels
 *   weight'    [channels x taps]      += gradient [channels x positions] * patches^T                   units: group, block of channels, part of the batch
 *
 * 2 * images * positions * result channels * taps FLOPs each, taps = channels of a group * kernel rows * kernel columns. Patches cost one write and one
 * read of the second cache a product, all lines of a strip in one piece where windows keep the width; windows of one number with a stride of 1 are read where they are.
 * Units do not depend on the number of threads, nor do the results' bits.
 *
 * GFLOP/s forward, to the input and to the weight, f32 on two cores of a Zen 5, and in brackets PyTorch 2.13 (oneDNN, which keeps its own layouts):
 *   32 x 32 x 28 x 28 into 64 channels, 3 x 3       320 296 274   (115 317 295)
 *   16 x 64 x 56 x 56 into 64, 3 x 3                301 297 267   (163 157 189)
 *   16 x 64 x 56 x 56 into 128, 1 x 1               290 262 302   (179 176 185)
 *    8 x 256 x 14 x 14 into 256, 3 x 3              336 317 301   (381 363 368)
 *    8 x 3 x 224 x 224 into 64, 7 x 7 by 2          230 206 198   ( 82  66 264)
 * Patches copied a row of an image at a time made 261 254 237 of the first, and a step of a small network of 28 x 28 images a third longer.
 * Source: Chellapilla, Puri and Simard 2006.
 */
#include "muster/convolution.h"

#include <cerrno>
#include <cstring>

#include "kernels/caches.h"
#include "kernels/check.h"
#include "kernels/layer-calls.h"
#include "kernels/images.h"
#include "kernels/pieces.h"
#include "kernels/table.h"
#include "kernels/workspace.h"
#include "muster/gemm.h"
#include "status.h"

namespace muster::kernels {
namespace {

/** Positions of a strip: fewer would make each product wait for the weights. */
constexpr std::size_t kStripMinPositions = 192;
/** Whole vectors, and whole tiles, at every level. */
constexpr std::size_t kStripMultiple = 48;
/** Taps of a block of channels, about: rows or columns of a product. */
constexpr std::size_t kBlockTaps = 192;
/** Units of the weight's gradient, at least, where the batch has as many images. */
constexpr std::size_t kWeightUnits = 16;

/** A thread's patches, and sums in f32 of what is stored in 16 bits. */
thread_local Workspace patchesMemory;
thread_local Workspace sumsMemory;

struct Shape {
  explicit Shape(const muster_convolution& convolution)
      : images(convolution.images),
        positions(convolution.images),
        groups(convolution.groups),
        groupChannels(convolution.images.channels / convolution.groups),
        resultChannels(convolution.result_channels),
        groupResults(convolution.result_channels / convolution.groups),
        windowTaps(images.vertical.kernel * images.horizontal.kernel),
        isPointwise(isOne(images.vertical) && isOne(images.horizontal)),
        rowRanges(images.vertical, images.rows, positions.rows),
        columnRanges(images.horizontal, images.columns, positions.columns) {}

  static bool isOne(const muster_window& window) { return window.kernel == 1 && window.stride == 1 && window.padding == 0 && window.overhang == 0; }

  std::size_t pixels() const { return images.rows * images.columns; }
  bool hasShiftedRows() const { return images.vertical.stride == 1 && images.horizontal.stride == 1 && positions.columns == images.columns; }
  /** Of one result: a column of the patches. */
  std::size_t taps() const { return groupChannels * windowTaps; }
  std::size_t strip(std::size_t taps) const {
    const std::size_t fitting = caches().secondBytes / 2 / (taps * sizeof(float));
    return std::min(positions.count(), ceilDivide(std::max(kStripMinPositions, fitting), kStripMultiple) * kStripMultiple);
  }
  std::size_t blockChannels() const { return std::min(groupChannels, ceilDivide(kBlockTaps, windowTaps)); }
  std::size_t blocks() const { return ceilDivide(groupChannels, blockChannels()); }

  muster_images images;
  Positions positions;
  std::size_t groups;
  std::size_t groupChannels;
  std::size_t resultChannels;
  std::size_t groupResults;
  std::size_t windowTaps;
  bool isPointwise;
  /** Which positions have each tap inside the image. */
  TapRanges rowRanges;
  TapRanges columnRanges;
};

/** Some channels of one group, [first, first + count). */
struct Channels {
  std::size_t first;
  std::size_t count;
};

/** Positions [first, first + count) of the result. */
struct Strip {
  std::size_t first;
  std::size_t count;
};

/**
 * Goes through a matrix of patches, row by row (channel, then tap), in runs of one row of the result: `inside(patch, pixel, count)` for `count` numbers from
 * `patch` on that stand for pixels a stride apart from `pixel` on, `outside(patch, count)` for those of the padding.
 */
template <class Inside, class Outside>
void forEachRun(const Shape& shape, std::size_t channels, Strip strip, Inside inside, Outside outside) {
  const muster_window& vertical = shape.images.vertical;
  const muster_window& horizontal = shape.images.horizontal;
  const std::size_t width = shape.positions.columns;
  const std::size_t firstRow = strip.first / width;
  const std::size_t firstColumn = strip.first % width;
  std::size_t patch = 0;
  for (std::size_t line = 0; line < channels * shape.windowTaps; line++) {
    const std::size_t tapRow = line % shape.windowTaps / horizontal.kernel;
    const std::size_t tapColumn = line % horizontal.kernel;
    const std::size_t plane = line / shape.windowTaps * shape.pixels();
    const InsideRange rows = shape.rowRanges[tapRow];
    const InsideRange columns = shape.columnRanges[tapColumn];
    std::size_t left = strip.count;
    std::size_t begin = firstColumn;
    for (std::size_t row = firstRow; left > 0; row++) {
      const std::size_t end = std::min(width, begin + left);
      const bool isInside = row >= rows.begin && row < rows.end;
      const std::size_t from = isInside ? std::clamp<std::size_t>(columns.begin, begin, end) : end;
      const std::size_t to = isInside ? std::clamp<std::size_t>(columns.end, from, end) : end;
      if (from > begin) outside(patch, from - begin);
      if (to > from) inside(patch + from - begin, plane + indexOf(vertical, row, tapRow) * shape.images.columns + indexOf(horizontal, from, tapColumn), to - from);
      if (end > to) outside(patch + to - begin, end - to);
      patch += end - begin;
      left -= end - begin;
      begin = 0;
    }
  }
}

/** What a tap sees of an image's lines. */
struct Run {
  /** Positions [begin, end) of a strip, counted from its first one, whose tap lies in a line of the image. */
  std::size_t begin;
  std::size_t end;
  /** The pixel of the first of them, in its image. */
  std::size_t pixel;
};

/**
 * As {@link forEachRun} where windows move by one and a row has as many positions as pixels: a tap's patches are then the image from another place on, all lines in one piece, but for what lies beyond the
 * edges. Calls `body(row, plane, run, columns)` for each row of the matrix: of which channel the image begins at `plane`, and the positions of a line whose tap lies inside.
 */
template <class Body>
void forEachShiftedRun(const Shape& shape, std::size_t channels, Strip strip, Body body) {
  const auto width = static_cast<std::ptrdiff_t>(shape.images.columns), pixels = static_cast<std::ptrdiff_t>(shape.pixels());
  const auto first = static_cast<std::ptrdiff_t>(strip.first), end = first + static_cast<std::ptrdiff_t>(strip.count);
  const muster_window& vertical = shape.images.vertical;
  const muster_window& horizontal = shape.images.horizontal;
  const auto offset = [](const muster_window& window, std::size_t tap) { return static_cast<std::ptrdiff_t>(tap * window.dilation) - static_cast<std::ptrdiff_t>(window.padding); };
  for (std::size_t line = 0; line < channels * shape.windowTaps; line++) {
    const std::size_t tapRow = line % shape.windowTaps / horizontal.kernel, tapColumn = line % horizontal.kernel;
    const InsideRange rows = shape.rowRanges[tapRow];
    const std::ptrdiff_t shift = offset(vertical, tapRow) * width + offset(horizontal, tapColumn);
    const std::ptrdiff_t from = std::clamp(std::max(static_cast<std::ptrdiff_t>(rows.begin) * width, -shift), first, end);
    const std::ptrdiff_t to = std::clamp(std::min(static_cast<std::ptrdiff_t>(rows.end) * width, pixels - shift), from, end);
    const Run run{static_cast<std::size_t>(from - first), static_cast<std::size_t>(to - first), static_cast<std::size_t>(from == to ? 0 : from + shift)};
    body(line, line / shape.windowTaps * shape.pixels(), run, shape.columnRanges[tapColumn]);
  }
}

/** Zeros for those of a run whose tap lies beyond an edge at the side: what stands there are pixels of the line before or after. */
template <class Element>
void clearEdges(const Shape& shape, Strip strip, const Run& run, const InsideRange& inside, Element* patches) {
  const std::size_t width = shape.images.columns;
  if (inside.begin == 0 && inside.end == width) return;
  for (std::size_t row = (strip.first + run.begin) / width * width; row < strip.first + run.end; row += width) {
    const auto clear = [&](std::size_t column, std::size_t end) {
      for (; column < end; column++) {
        const std::size_t position = row + column;
        if (position >= strip.first + run.begin && position < strip.first + run.end) patches[position - strip.first] = 0;
      }
    };
    clear(0, inside.begin);
    clear(inside.end, width);
  }
}

template <class Element>
void gather(const Shape& shape, const void* image, std::size_t channels, Strip strip, void* patches) {
  const auto* from = static_cast<const Element*>(image);
  auto* to = static_cast<Element*>(patches);
  if (shape.hasShiftedRows()) {
    return forEachShiftedRun(shape, channels, strip, [&](std::size_t line, std::size_t plane, const Run& run, const InsideRange& inside) {
      Element* const row = to + line * strip.count;
      std::memset(row, 0, run.begin * sizeof(Element));
      std::memcpy(row + run.begin, from + plane + run.pixel, (run.end - run.begin) * sizeof(Element));
      std::memset(row + run.end, 0, (strip.count - run.end) * sizeof(Element));
      clearEdges(shape, strip, run, inside, row);
    });
  }
  const std::size_t stride = shape.images.horizontal.stride;
  forEachRun(
      shape, channels, strip,
      [&](std::size_t patch, std::size_t pixel, std::size_t count) {
        if (stride == 1) {
          std::memcpy(to + patch, from + pixel, count * sizeof(Element));
        } else {
          for (std::size_t index = 0; index < count; index++) to[patch + index] = from[pixel + index * stride];
        }
      },
      [&](std::size_t patch, std::size_t count) { std::memset(to + patch, 0, count * sizeof(Element)); });
}

/** Adds patches up where they came from. What stands for no pixel is cleared on the way. */
void scatterAdd(const Shape& shape, float* patches, std::size_t channels, Strip strip, float* image) {
  if (shape.hasShiftedRows()) {
    return forEachShiftedRun(shape, channels, strip, [&](std::size_t line, std::size_t plane, const Run& run, const InsideRange& inside) {
      float* const row = patches + line * strip.count;
      clearEdges(shape, strip, run, inside, row);
      table().layers[MUSTER_F32].addTo(image + plane + run.pixel, row + run.begin, run.end - run.begin);
    });
  }
  const std::size_t stride = shape.images.horizontal.stride;
  forEachRun(
      shape, channels, strip,
      [&](std::size_t patch, std::size_t pixel, std::size_t count) {
        for (std::size_t index = 0; index < count; index++) image[pixel + index * stride] += patches[patch + index];
      },
      [](std::size_t, std::size_t) {});
}

/** Part of a tensor as a matrix. */
muster_matrices matrix(const muster_tensor& tensor, std::size_t first, std::size_t elements, std::size_t rowStride, std::size_t columnStride = 1) {
  return {{elementAt(tensor, first), elements, tensor.dtype}, rowStride, columnStride, 0};
}

muster_matrices matrixOf(const void* data, muster_dtype dtype, std::size_t elements, std::size_t rowStride, std::size_t columnStride = 1) {
  return {{const_cast<void*>(data), elements, dtype}, rowStride, columnStride, 0};
}

struct ProductShape {
  std::size_t rows;
  std::size_t columns;
  std::size_t depth;
};

/** On this thread. @returns whether there was memory. */
bool multiply(ProductShape size, const muster_matrices& left, const muster_matrices& right, const muster_matrices& result, float beta) {
  const muster_gemm_call call{1, size.rows, size.columns, size.depth, left, right, result, 1, beta, {nullptr, 0, MUSTER_F32}, MUSTER_IDENTITY};
  return muster_gemm(&call, 1) == MUSTER_OK;
}

/** The patches of some channels of an image: gathered, or the image itself. */
muster_matrices patchesOf(const Shape& shape, const muster_tensor& input, std::size_t image, Channels channels, Strip strip, void* memory) {
  const std::size_t first = (image * shape.images.channels + channels.first) * shape.pixels();
  if (shape.isPointwise) return matrix(input, first + strip.first, (channels.count - 1) * shape.pixels() + strip.count, shape.pixels());
  if (input.dtype == MUSTER_F32) {
    gather<float>(shape, elementAt(input, first), channels.count, strip, memory);
  } else {
    gather<std::uint16_t>(shape, elementAt(input, first), channels.count, strip, memory);
  }
  return matrixOf(memory, input.dtype, channels.count * shape.windowTaps * strip.count, strip.count);
}

/** Calls `body(strip)` until one answers false. */
template <class Body>
bool forEachStrip(const Shape& shape, std::size_t length, Body body) {
  for (std::size_t first = 0; first < shape.positions.count(); first += length) {
    if (!body(Strip{first, std::min(length, shape.positions.count() - first)})) return false;
  }
  return true;
}

/** Calls `body(unit)` for all units. @returns a failure where one of them answered false. */
template <class Body>
muster_code forEachUnit(std::uint32_t threads, std::size_t units, Body body) {
  return parallelUntilFailure(threadCount(threads), units, body) ? MUSTER_OK : MUSTER_FAIL(MUSTER_SYSTEM_ERROR, ENOMEM, "no memory for the patches of a convolution");
}

/** Rows of results for one strip, each begun with its bias. */
bool convolveStrip(const Shape& shape, const muster_tensor& input, const muster_tensor& weight, const muster_tensor& bias, const muster_tensor& result, std::size_t image, std::size_t group,
                   Strip strip) {
  const std::size_t taps = shape.taps();
  const std::size_t channel = group * shape.groupResults;
  const std::size_t place = (image * shape.resultChannels + channel) * shape.positions.count() + strip.first;
  const bool inPlace = result.dtype == MUSTER_F32;
  float* const patches = shape.isPointwise ? nullptr : patchesMemory.reserve(taps * strip.count);
  float* const sums = inPlace ? static_cast<float*>(elementAt(result, place)) : sumsMemory.reserve(shape.groupResults * strip.count);
  if (sums == nullptr || (patches == nullptr && !shape.isPointwise)) return false;
  const std::size_t stride = inPlace ? shape.positions.count() : strip.count;
  const auto* biases = bias.elements == 0 ? nullptr : static_cast<const float*>(bias.data) + channel;
  for (std::size_t row = 0; biases != nullptr && row < shape.groupResults; row++) std::fill_n(sums + row * stride, strip.count, biases[row]);
  const muster_matrices right = patchesOf(shape, input, image, {group * shape.groupChannels, shape.groupChannels}, strip, patches);
  const muster_matrices left = matrix(weight, channel * taps, shape.groupResults * taps, taps);
  const muster_matrices to = matrixOf(sums, MUSTER_F32, (shape.groupResults - 1) * stride + strip.count, stride);
  if (!multiply({shape.groupResults, strip.count, taps}, left, right, to, biases == nullptr ? 0 : 1)) return false;
  for (std::size_t row = 0; !inPlace && row < shape.groupResults; row++) {
    table().convert[MUSTER_F32][result.dtype](sums + row * stride, elementAt(result, place + row * shape.positions.count()), strip.count, false);
  }
  return true;
}

/** The gradient of some channels of one image: the patches' gradients, added up. */
bool backwardChannels(const Shape& shape, const muster_tensor& gradient, const muster_tensor& weight, const muster_tensor& inputGradient, std::size_t image, std::size_t group,
                      Channels channels) {
  const std::size_t taps = channels.count * shape.windowTaps;
  const std::size_t length = shape.strip(taps);
  const std::size_t place = (image * shape.images.channels + group * shape.groupChannels + channels.first) * shape.pixels();
  const std::size_t elements = channels.count * shape.pixels();
  const bool inPlace = inputGradient.dtype == MUSTER_F32;
  float* const patches = patchesMemory.reserve(taps * length);
  float* const sums = inPlace ? static_cast<float*>(elementAt(inputGradient, place)) : sumsMemory.reserve(elements);
  if (patches == nullptr || sums == nullptr) return false;
  if (!shape.isPointwise) std::fill_n(sums, elements, 0.0f);
  const std::size_t firstResult = group * shape.groupResults;
  const std::size_t firstWeight = firstResult * shape.taps() + channels.first * shape.windowTaps;
  const muster_matrices left = matrix(weight, firstWeight, (shape.groupResults - 1) * shape.taps() + taps, 1, shape.taps());
  const bool done = forEachStrip(shape, length, [&](Strip strip) {
    const std::size_t from = (image * shape.resultChannels + firstResult) * shape.positions.count() + strip.first;
    const muster_matrices right = matrix(gradient, from, (shape.groupResults - 1) * shape.positions.count() + strip.count, shape.positions.count());
    const ProductShape size{taps, strip.count, shape.groupResults};
    if (shape.isPointwise) return multiply(size, left, right, matrixOf(sums + strip.first, MUSTER_F32, elements - strip.first, shape.pixels()), 0);
    if (!multiply(size, left, right, matrixOf(patches, MUSTER_F32, taps * strip.count, strip.count), 0)) return false;
    scatterAdd(shape, patches, channels.count, strip, sums);
    return true;
  });
  if (done && !inPlace) table().convert[MUSTER_F32][inputGradient.dtype](sums, elementAt(inputGradient, place), elements, false);
  return done;
}

/** Adds the share of one image to the gradient of the weights of some channels. */
bool addWeightGradient(const Shape& shape, const muster_tensor& input, const muster_tensor& gradient, float* weightGradient, std::size_t image, std::size_t group, Channels channels) {
  const std::size_t taps = channels.count * shape.windowTaps;
  const std::size_t length = shape.strip(taps);
  float* const patches = shape.isPointwise ? nullptr : patchesMemory.reserve(taps * length);
  if (patches == nullptr && !shape.isPointwise) return false;
  const std::size_t firstResult = group * shape.groupResults;
  float* const to = weightGradient + firstResult * shape.taps() + channels.first * shape.windowTaps;
  const muster_matrices result = matrixOf(to, MUSTER_F32, (shape.groupResults - 1) * shape.taps() + taps, shape.taps());
  return forEachStrip(shape, length, [&](Strip strip) {
    const std::size_t from = (image * shape.resultChannels + firstResult) * shape.positions.count() + strip.first;
    const muster_matrices left = matrix(gradient, from, (shape.groupResults - 1) * shape.positions.count() + strip.count, shape.positions.count());
    muster_matrices right = patchesOf(shape, input, image, {group * shape.groupChannels + channels.first, channels.count}, strip, patches);
    std::swap(right.row_stride, right.column_stride);
    return multiply({shape.groupResults, taps, strip.count}, left, right, result, 1);
  });
}

/** One product of the batch for each block of channels; where those are few, parts of the batch are summed apart and then in order. */
muster_code addWeightGradients(const Shape& shape, const muster_tensor& input, const muster_tensor& gradient, const muster_tensor& weightGradient, std::uint32_t threads) {
  const std::size_t blocks = shape.groups * shape.blocks();
  const std::size_t parts = std::clamp<std::size_t>(kWeightUnits / blocks, 1, shape.images.batches);
  const std::size_t elements = weightGradient.elements;
  auto* const total = static_cast<float*>(weightGradient.data);
  const OwnFloats partial(parts == 1 ? nullptr : static_cast<float*>(std::calloc(parts * elements, sizeof(float))));
  if (parts > 1 && partial == nullptr) return MUSTER_FAIL(MUSTER_SYSTEM_ERROR, ENOMEM, "no memory for the parts of a weight's gradient");
  const muster_code code = forEachUnit(threads, blocks * parts, [&](std::size_t unit) {
    const std::size_t part = unit % parts;
    const std::size_t group = unit / parts / shape.blocks();
    const std::size_t first = unit / parts % shape.blocks() * shape.blockChannels();
    const Channels channels{first, std::min(shape.blockChannels(), shape.groupChannels - first)};
    for (std::size_t image = shape.images.batches * part / parts; image < shape.images.batches * (part + 1) / parts; image++) {
      if (!addWeightGradient(shape, input, gradient, parts == 1 ? total : partial.get() + part * elements, image, group, channels)) return false;
    }
    return true;
  });
  for (std::size_t part = 0; parts > 1 && part < parts; part++) table().layers[MUSTER_F32].addTo(total, partial.get() + part * elements, elements);
  return code;
}

void addBiasGradient(const Shape& shape, const muster_tensor& gradient, const muster_tensor& biasGradient, std::uint32_t threads) {
  const std::size_t positions = shape.positions.count();
  parallelFor(threadCount(threads), shape.resultChannels, [&](std::size_t channel) {
    double sum = 0;
    for (std::size_t image = 0; image < shape.images.batches; image++) {
      sum += table().layers[gradient.dtype].total(elementAt(gradient, (image * shape.resultChannels + channel) * positions), positions);
    }
    static_cast<float*>(biasGradient.data)[channel] += static_cast<float>(sum);
  });
}

}  // namespace
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_convolve(const muster_convolution* convolution, const muster_tensor* input, const muster_tensor* weight, const muster_tensor* bias, const muster_tensor* result,
                            uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkConvolve(*convolution, *input, *weight, *bias, *result); code != MUSTER_OK) return code;
  if (convolution->images.batches == 0) return MUSTER_OK;  // whose windows may have more positions than can be counted
  const Shape shape(*convolution);
  const std::size_t length = shape.strip(shape.taps());
  const std::size_t strips = ceilDivide(shape.positions.count(), length);
  return forEachUnit(threads, shape.images.batches * shape.groups * strips, [&](std::size_t unit) {
    const std::size_t first = unit % strips * length;
    const Strip strip{first, std::min(length, shape.positions.count() - first)};
    return convolveStrip(shape, *input, *weight, *bias, *result, unit / strips / shape.groups, unit / strips % shape.groups, strip);
  });
}

muster_code muster_convolve_backward_input(const muster_convolution* convolution, const muster_tensor* gradient, const muster_tensor* weight, const muster_tensor* input_gradient,
                                           uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkConvolveBackwardInput(*convolution, *gradient, *weight, *input_gradient); code != MUSTER_OK) return code;
  if (convolution->images.batches == 0) return MUSTER_OK;
  const Shape shape(*convolution);
  return forEachUnit(threads, shape.images.batches * shape.groups * shape.blocks(), [&](std::size_t unit) {
    const std::size_t first = unit % shape.blocks() * shape.blockChannels();
    const Channels channels{first, std::min(shape.blockChannels(), shape.groupChannels - first)};
    return backwardChannels(shape, *gradient, *weight, *input_gradient, unit / shape.blocks() / shape.groups, unit / shape.blocks() % shape.groups, channels);
  });
}

muster_code muster_convolve_backward_weight(const muster_convolution* convolution, const muster_tensor* input, const muster_tensor* gradient, const muster_tensor* weight_gradient,
                                            const muster_tensor* bias_gradient, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkConvolveBackwardWeight(*convolution, *input, *gradient, *weight_gradient, *bias_gradient); code != MUSTER_OK) return code;
  if (convolution->images.batches == 0) return MUSTER_OK;
  const Shape shape(*convolution);
  if (bias_gradient->elements != 0) addBiasGradient(shape, *gradient, *bias_gradient, threads);
  return addWeightGradients(shape, *input, *gradient, *weight_gradient, threads);
}
