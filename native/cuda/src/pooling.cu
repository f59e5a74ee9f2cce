/**
 * muster_cuda_pool and its gradient. Bytes: b read for each number of the input and b written for each result, 4 more for a place; windows that overlap are read from the caches. A
 * thread for each result, and backward for each number of the input, which goes through the windows that it lies in: no atomics, and the same bits every time.
 * CPU reference: src/kernels/pooling.cc.
 */
#include "kernels/images.h"
#include "kernels/layer-calls.h"
#include "launch.h"
#include "muster/cuda-kernels.h"
#include "strided.cuh"

namespace muster::cuda {
namespace {

struct Pool {
  muster_images images;
  muster_pooling pooling;
  std::uint64_t rows, columns;
  std::uint64_t planes;
};

/** Taps [begin, end) of a window at a position that lie inside a side. */
struct Taps {
  __device__ __forceinline__ Taps(const muster_window& window, std::uint64_t size, std::uint64_t position) {
    const std::uint64_t start = position * window.stride;
    begin = start >= window.padding ? 0 : (window.padding - start + window.dilation - 1) / window.dilation;
    end = start >= size + window.padding ? 0 : (size + window.padding - start - 1) / window.dilation + 1;
    if (end > window.kernel) end = window.kernel;
    if (begin > end) begin = end;
  }
  std::uint64_t begin, end;
};

__device__ __forceinline__ std::uint64_t indexOf(const muster_window& window, std::uint64_t position, std::uint64_t tap) { return position * window.stride + tap * window.dilation - window.padding; }

/** Taps of a window at a position that a mean with the padding counts: all but those in the overhang. */
__device__ __forceinline__ std::uint64_t paddedTaps(const muster_window& window, std::uint64_t size, std::uint64_t position) {
  const std::uint64_t taps = (size + 2 * window.padding - position * window.stride - 1) / window.dilation + 1;
  return taps < window.kernel ? taps : window.kernel;
}

/** What each number of a mean counts. */
__device__ __forceinline__ float shareOf(const Pool& pool, std::uint64_t row, std::uint64_t column) {
  const muster_window &vertical = pool.images.vertical, &horizontal = pool.images.horizontal;
  if (pool.pooling == MUSTER_POOL_MEAN_PADDED) return 1 / static_cast<float>(paddedTaps(vertical, pool.images.rows, row) * paddedTaps(horizontal, pool.images.columns, column));
  const Taps down(vertical, pool.images.rows, row), across(horizontal, pool.images.columns, column);
  return 1 / static_cast<float>((down.end - down.begin) * (across.end - across.begin));
}

template <class Format>
__global__ void __launch_bounds__(kBlockThreads) poolKernel(Pool pool, const typename Format::Element* input, typename Format::Element* result, std::int32_t* places) {
  const std::uint64_t positions = pool.rows * pool.columns;
  for (std::uint64_t at = threadOfGrid(); at < pool.planes * positions; at += threadsOfGrid()) {
    const auto* const image = input + at / positions * pool.images.rows * pool.images.columns;
    const std::uint64_t row = at % positions / pool.columns, column = at % pool.columns;
    const Taps down(pool.images.vertical, pool.images.rows, row), across(pool.images.horizontal, pool.images.columns, column);
    float value = places == nullptr ? 0 : -floatOf(kInfinity);
    std::int32_t place = -1;
    for (std::uint64_t y = down.begin; y < down.end; y++) {
      for (std::uint64_t x = across.begin; x < across.end; x++) {
        const std::uint64_t pixel = indexOf(pool.images.vertical, row, y) * pool.images.columns + indexOf(pool.images.horizontal, column, x);
        float one[1];
        load<Format>(image + pixel, one);
        if (places == nullptr) {
          value += one[0];
        } else if (place < 0 || one[0] > value || (one[0] != one[0] && value == value)) {
          value = one[0];
          place = static_cast<std::int32_t>(pixel);
        }
      }
    }
    if (places == nullptr) {
      value *= shareOf(pool, row, column);
    } else {
      places[at] = place;
    }
    store<Format>(result + at, {value});
  }
}

/** Positions [begin, end) whose windows a number of a side may lie in; with dilation not in all of them. */
struct Reach {
  __device__ __forceinline__ Reach(const muster_window& window, std::uint64_t positions, std::uint64_t index) {
    const std::uint64_t last = index + window.padding;
    const std::uint64_t span = (window.kernel - 1) * window.dilation;
    begin = last <= span ? 0 : (last - span + window.stride - 1) / window.stride;
    end = last / window.stride + 1;
    if (end > positions) end = positions;
  }
  std::uint64_t begin, end;
};

__device__ __forceinline__ bool isTap(const muster_window& window, std::uint64_t position, std::uint64_t index) { return (index + window.padding - position * window.stride) % window.dilation == 0; }

template <class Format>
__global__ void __launch_bounds__(kBlockThreads) poolBackwardKernel(Pool pool, const typename Format::Element* gradient, const std::int32_t* places, typename Format::Element* inputGradient) {
  const std::uint64_t pixels = pool.images.rows * pool.images.columns;
  const std::uint64_t positions = pool.rows * pool.columns;
  for (std::uint64_t at = threadOfGrid(); at < pool.planes * pixels; at += threadsOfGrid()) {
    const std::uint64_t first = at / pixels * positions;
    const std::uint64_t y = at % pixels / pool.images.columns, x = at % pool.images.columns;
    const Reach down(pool.images.vertical, pool.rows, y), across(pool.images.horizontal, pool.columns, x);
    float sum = 0;
    for (std::uint64_t row = down.begin; row < down.end; row++) {
      if (!isTap(pool.images.vertical, row, y)) continue;
      for (std::uint64_t column = across.begin; column < across.end; column++) {
        if (!isTap(pool.images.horizontal, column, x)) continue;
        const std::uint64_t from = first + row * pool.columns + column;
        if (places != nullptr && static_cast<std::uint64_t>(places[from]) != at % pixels) continue;
        float upper[1];
        load<Format>(gradient + from, upper);
        sum += places != nullptr ? upper[0] : upper[0] * shareOf(pool, row, column);
      }
    }
    store<Format>(inputGradient + at, {sum});
  }
}

Pool poolOf(const muster_images& images, muster_pooling pooling) {
  const kernels::Positions positions(images);
  return {images, pooling, positions.rows, positions.columns, images.batches * images.channels};
}

}  // namespace
}  // namespace muster::cuda

using namespace muster::cuda;

muster_code muster_cuda_pool(const muster_images* images, muster_pooling pooling, const muster_tensor* input, const muster_tensor* result, int32_t* places, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkPool(*images, pooling, *input, *result, places); code != MUSTER_OK) return code;
  if (result->elements == 0) return MUSTER_OK;
  return withTrainingFormat(input->dtype, [&](auto kind) {
    using Element = typename decltype(kind)::Element;
    return launch(poolKernel<decltype(kind)>, blocksFor(result->elements, kBlockThreads), kBlockThreads, 0, stream, poolOf(*images, pooling), static_cast<const Element*>(input->data),
                  static_cast<Element*>(result->data), places);
  });
}

muster_code muster_cuda_pool_backward(const muster_images* images, muster_pooling pooling, const muster_tensor* gradient, const int32_t* places, const muster_tensor* input_gradient,
                                      muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkPoolBackward(*images, pooling, *gradient, places, *input_gradient); code != MUSTER_OK) return code;
  if (gradient->elements == 0) return MUSTER_OK;
  return withTrainingFormat(gradient->dtype, [&](auto kind) {
    using Element = typename decltype(kind)::Element;
    return launch(poolBackwardKernel<decltype(kind)>, blocksFor(input_gradient->elements, kBlockThreads), kBlockThreads, 0, stream, poolOf(*images, pooling), static_cast<const Element*>(gradient->data), places,
                  static_cast<Element*>(input_gradient->data));
  });
}
