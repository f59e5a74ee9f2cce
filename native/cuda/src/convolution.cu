/**
 * Convolutions by way of matrix products (gemm.h), some images and a group at a time: the numbers under the window are copied into a matrix of patches [taps x positions], as on the CPU.
 *
 *   result     [channels x positions]  = weight [channels x taps] * patches, begun with the bias
 *   patches'   [taps x positions]      = weight^T * gradient, in f32; each number of the image adds up where it went: no atomics
 *   weight'    [channels x taps]      += gradient [channels x positions] * patches^T, image after image
 *
 * 2 * images * positions * result channels * taps FLOPs each. Patches are written and read once, taps times the bytes of the input, which is what decides on small channels;
 * windows of one number with a stride of 1 are read where they are.
 * Versions: this; products that gather their own patches (implicit) would not write them.
 * CPU reference: src/kernels/convolution.cc.
 */
#include <algorithm>

#include "gemm.h"
#include "kernels/images.h"
#include "kernels/layer-calls.h"
#include "launch.h"
#include "strided.cuh"

namespace muster::cuda {
namespace {

/** Of the patches of the images that one product takes: enough to fill a device. */
constexpr std::uint64_t kPatchesMaxBytes = std::uint64_t{64} << 20;

struct Shape {
  explicit Shape(const muster_convolution& convolution)
      : images(convolution.images),
        rows(muster_window_positions(&convolution.images.vertical, convolution.images.rows)),
        columns(muster_window_positions(&convolution.images.horizontal, convolution.images.columns)),
        groups(convolution.groups),
        groupChannels(convolution.images.channels / convolution.groups),
        resultChannels(convolution.result_channels),
        groupResults(convolution.result_channels / convolution.groups) {}

  __host__ __device__ std::uint64_t pixels() const { return images.rows * images.columns; }
  __host__ __device__ std::uint64_t positions() const { return rows * columns; }
  __host__ __device__ std::uint64_t windowTaps() const { return images.vertical.kernel * images.horizontal.kernel; }
  __host__ __device__ std::uint64_t taps() const { return groupChannels * windowTaps(); }
  bool isPointwise() const { return isOne(images.vertical) && isOne(images.horizontal); }
  static bool isOne(const muster_window& window) { return window.kernel == 1 && window.stride == 1 && window.padding == 0 && window.overhang == 0; }

  muster_images images;
  std::uint64_t rows, columns;
  std::uint64_t groups, groupChannels, resultChannels, groupResults;
};

/** Images [first, first + count) of a call, and one group. */
struct Part {
  std::uint64_t first, count, group;
};

/** The patches of a part [image][tap][position]. */
template <class Element>
__global__ void __launch_bounds__(kBlockThreads) patchesKernel(Shape shape, Part part, const Element* input, Element* patches) {
  const std::uint64_t plane = shape.taps() * shape.positions();
  for (std::uint64_t at = threadOfGrid(); at < part.count * plane; at += threadsOfGrid()) {
    const std::uint64_t tap = at % plane / shape.positions(), position = at % shape.positions();
    const std::uint64_t channel = tap / shape.windowTaps();
    const std::uint64_t y = position / shape.columns * shape.images.vertical.stride + tap % shape.windowTaps() / shape.images.horizontal.kernel * shape.images.vertical.dilation;
    const std::uint64_t x = position % shape.columns * shape.images.horizontal.stride + tap % shape.images.horizontal.kernel * shape.images.horizontal.dilation;
    const std::uint64_t row = y - shape.images.vertical.padding, column = x - shape.images.horizontal.padding;  // beyond the end where it is before the start
    const std::uint64_t image = (part.first + at / plane) * shape.images.channels + part.group * shape.groupChannels + channel;
    const bool isInside = row < shape.images.rows && column < shape.images.columns;
    patches[at] = isInside ? input[image * shape.pixels() + row * shape.images.columns + column] : Element{0};
  }
}

/** Along one side: the position whose window has the number at `index` under `tap`. @returns false where there is none */
__device__ __forceinline__ bool positionOf(const muster_window& window, std::uint64_t positions, std::uint64_t index, std::uint64_t tap, std::uint64_t& position) {
  const std::uint64_t from = index + window.padding;
  const std::uint64_t shift = tap * window.dilation;
  if (from < shift || (from - shift) % window.stride != 0) return false;
  position = (from - shift) / window.stride;
  return position < positions;
}

/** A thread for each number of the images of a part. */
template <class Format>
__global__ void __launch_bounds__(kBlockThreads) addPatchesKernel(Shape shape, Part part, const float* patches, typename Format::Element* inputGradient) {
  const std::uint64_t own = shape.groupChannels * shape.pixels();
  for (std::uint64_t at = threadOfGrid(); at < part.count * own; at += threadsOfGrid()) {
    const std::uint64_t channel = at % own / shape.pixels(), pixel = at % shape.pixels();
    float sum = 0;
    for (std::uint64_t tapRow = 0; tapRow < shape.images.vertical.kernel; tapRow++) {
      std::uint64_t row = 0;
      if (!positionOf(shape.images.vertical, shape.rows, pixel / shape.images.columns, tapRow, row)) continue;
      for (std::uint64_t tapColumn = 0; tapColumn < shape.images.horizontal.kernel; tapColumn++) {
        std::uint64_t column = 0;
        if (!positionOf(shape.images.horizontal, shape.columns, pixel % shape.images.columns, tapColumn, column)) continue;
        const std::uint64_t tap = channel * shape.windowTaps() + tapRow * shape.images.horizontal.kernel + tapColumn;
        sum += patches[(at / own * shape.taps() + tap) * shape.positions() + row * shape.columns + column];
      }
    }
    const std::uint64_t image = (part.first + at / own) * shape.images.channels + part.group * shape.groupChannels + channel;
    store<Format>(inputGradient + image * shape.pixels() + pixel, {sum});
  }
}

template <class Format>
__global__ void __launch_bounds__(kBlockThreads) biasKernel(Shape shape, const float* bias, typename Format::Element* result) {
  const std::uint64_t elements = shape.images.batches * shape.resultChannels * shape.positions();
  for (std::uint64_t at = threadOfGrid(); at < elements; at += threadsOfGrid()) store<Format>(result + at, {bias[at / shape.positions() % shape.resultChannels]});
}

/** By one block of a channel: what it adds to the bias's gradient. */
template <class Format>
__global__ void __launch_bounds__(kBlockThreads) biasGradientKernel(Shape shape, const typename Format::Element* gradient, float* biasGradient) {
  double sum = 0;
  for (std::uint64_t at = threadIdx.x; at < shape.images.batches * shape.positions(); at += blockDim.x) {
    float upper[1];
    load<Format>(gradient + (at / shape.positions() * shape.resultChannels + blockIdx.x) * shape.positions() + at % shape.positions(), upper);
    sum += upper[0];
  }
  __shared__ double sums[kBlockThreads];
  sums[threadIdx.x] = sum;
  for (unsigned half = kBlockThreads / 2; half > 0; half /= 2) {
    syncBlock();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) biasGradient[blockIdx.x] += static_cast<float>(sums[0]);
}

/** Matrices somewhere in a tensor. */
muster_matrices matricesAt(const muster_tensor& tensor, std::uint64_t offset, std::uint64_t rowStride, std::uint64_t columnStride, std::uint64_t batchStride) {
  return {{static_cast<unsigned char*>(tensor.data) + offset * elementBytes(tensor.dtype), tensor.elements - offset, tensor.dtype}, rowStride, columnStride, batchStride};
}

muster_code multiply(std::uint64_t batches, std::uint64_t rows, std::uint64_t columns, std::uint64_t depth, const muster_matrices& left, const muster_matrices& right, const muster_matrices& result, float beta,
                     cudaStream_t stream) {
  const muster_gemm_call call{batches, rows, columns, depth, left, right, result, 1, beta, {nullptr, 0, MUSTER_F32}, MUSTER_IDENTITY};
  return muster_cuda_gemm(&call, MUSTER_CUDA_GEMM_BEST, stream);
}

/** Calls `body(part, patches)` for all parts, with room for patches of a dtype. */
template <class Body>
muster_code forEachPart(const Shape& shape, muster_dtype dtype, cudaStream_t stream, Body body) {
  const std::uint64_t image = shape.taps() * shape.positions();
  const std::uint64_t together = std::clamp<std::uint64_t>(kPatchesMaxBytes / (image * elementBytes(dtype)), 1, shape.images.batches);
  StreamMemory memory(stream);
  if (!shape.isPointwise()) {
    if (const muster_code code = memory.reserve(together * image * elementBytes(dtype)); code != MUSTER_OK) return code;
  }
  for (std::uint64_t first = 0; first < shape.images.batches; first += together) {
    for (std::uint64_t group = 0; group < shape.groups; group++) {
      const Part part{first, std::min(together, shape.images.batches - first), group};
      if (const muster_code code = body(part, muster_tensor{memory.data(), part.count * image, dtype}); code != MUSTER_OK) return code;
    }
  }
  return MUSTER_OK;
}

/** The patches of a part: gathered, or the input itself. */
muster_code gather(const Shape& shape, const Part& part, const muster_tensor& input, const muster_tensor& patches, muster_matrices& matrices, cudaStream_t stream) {
  if (shape.isPointwise()) {
    matrices = matricesAt(input, (part.first * shape.images.channels + part.group * shape.groupChannels) * shape.pixels(), shape.pixels(), 1, shape.images.channels * shape.pixels());
    return MUSTER_OK;
  }
  matrices = matricesAt(patches, 0, shape.positions(), 1, shape.taps() * shape.positions());
  const unsigned blocks = blocksFor(patches.elements, kBlockThreads);
  if (input.dtype == MUSTER_F32) return launch(patchesKernel<float>, blocks, kBlockThreads, 0, stream, shape, part, static_cast<const float*>(input.data), static_cast<float*>(patches.data));
  return launch(patchesKernel<std::uint16_t>, blocks, kBlockThreads, 0, stream, shape, part, static_cast<const std::uint16_t*>(input.data), static_cast<std::uint16_t*>(patches.data));
}

/** Of the result or its gradient: a group's channels of images from `first` on. */
muster_matrices resultsOf(const Shape& shape, const Part& part, const muster_tensor& tensor) {
  return matricesAt(tensor, (part.first * shape.resultChannels + part.group * shape.groupResults) * shape.positions(), shape.positions(), 1, shape.resultChannels * shape.positions());
}

}  // namespace
}  // namespace muster::cuda

using namespace muster::cuda;

muster_code muster_cuda_convolve(const muster_convolution* convolution, const muster_tensor* input, const muster_tensor* weight, const muster_tensor* bias, const muster_tensor* result, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkConvolve(*convolution, *input, *weight, *bias, *result); code != MUSTER_OK) return code;
  if (convolution->images.batches == 0) return MUSTER_OK;
  const Shape shape(*convolution);
  if (bias->elements != 0) {
    const muster_code code = withTrainingFormat(result->dtype, [&](auto kind) {
      return launch(biasKernel<decltype(kind)>, blocksFor(result->elements, kBlockThreads), kBlockThreads, 0, stream, shape, static_cast<const float*>(bias->data), static_cast<typename decltype(kind)::Element*>(result->data));
    });
    if (code != MUSTER_OK) return code;
  }
  return forEachPart(shape, input->dtype, stream, [&](const Part& part, const muster_tensor& memory) {
    muster_matrices patches;
    if (const muster_code code = gather(shape, part, *input, memory, patches, stream); code != MUSTER_OK) return code;
    const muster_matrices left = matricesAt(*weight, part.group * shape.groupResults * shape.taps(), shape.taps(), 1, 0);
    return multiply(part.count, shape.groupResults, shape.positions(), shape.taps(), left, patches, resultsOf(shape, part, *result), bias->elements == 0 ? 0 : 1, stream);
  });
}

muster_code muster_cuda_convolve_backward_input(const muster_convolution* convolution, const muster_tensor* gradient, const muster_tensor* weight, const muster_tensor* input_gradient, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkConvolveBackwardInput(*convolution, *gradient, *weight, *input_gradient); code != MUSTER_OK) return code;
  if (convolution->images.batches == 0) return MUSTER_OK;
  const Shape shape(*convolution);
  return forEachPart(shape, MUSTER_F32, stream, [&](const Part& part, const muster_tensor& memory) {
    const muster_matrices left = matricesAt(*weight, part.group * shape.groupResults * shape.taps(), 1, shape.taps(), 0);
    const muster_matrices right = resultsOf(shape, part, *gradient);
    if (shape.isPointwise()) {
      const muster_matrices to = matricesAt(*input_gradient, (part.first * shape.images.channels + part.group * shape.groupChannels) * shape.pixels(), shape.pixels(), 1, shape.images.channels * shape.pixels());
      return multiply(part.count, shape.taps(), shape.positions(), shape.groupResults, left, right, to, 0, stream);
    }
    const muster_matrices patches = matricesAt(memory, 0, shape.positions(), 1, shape.taps() * shape.positions());
    if (const muster_code code = multiply(part.count, shape.taps(), shape.positions(), shape.groupResults, left, right, patches, 0, stream); code != MUSTER_OK) return code;
    return withTrainingFormat(input_gradient->dtype, [&](auto kind) {
      return launch(addPatchesKernel<decltype(kind)>, blocksFor(part.count * shape.groupChannels * shape.pixels(), kBlockThreads), kBlockThreads, 0, stream, shape, part, static_cast<const float*>(memory.data),
                    static_cast<typename decltype(kind)::Element*>(input_gradient->data));
    });
  });
}

muster_code muster_cuda_convolve_backward_weight(const muster_convolution* convolution, const muster_tensor* input, const muster_tensor* gradient, const muster_tensor* weight_gradient,
                                                 const muster_tensor* bias_gradient, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkConvolveBackwardWeight(*convolution, *input, *gradient, *weight_gradient, *bias_gradient); code != MUSTER_OK) return code;
  if (convolution->images.batches == 0) return MUSTER_OK;
  const Shape shape(*convolution);
  if (bias_gradient->elements != 0) {
    const muster_code code = withTrainingFormat(gradient->dtype, [&](auto kind) {
      return launch(biasGradientKernel<decltype(kind)>, static_cast<unsigned>(shape.resultChannels), kBlockThreads, 0, stream, shape, static_cast<const typename decltype(kind)::Element*>(gradient->data),
                    static_cast<float*>(bias_gradient->data));
    });
    if (code != MUSTER_OK) return code;
  }
  return forEachPart(shape, input->dtype, stream, [&](const Part& part, const muster_tensor& memory) {
    muster_matrices patches;
    if (const muster_code code = gather(shape, part, *input, memory, patches, stream); code != MUSTER_OK) return code;
    const muster_matrices to = matricesAt(*weight_gradient, part.group * shape.groupResults * shape.taps(), shape.taps(), 1, 0);
    for (std::uint64_t image = 0; image < part.count; image++) {
      const muster_matrices left = resultsOf(shape, {part.first + image, 1, part.group}, *gradient);
      const std::uint64_t start = image * patches.batch_stride;
      const muster_matrices right = matricesAt(patches.tensor, start, patches.column_stride, patches.row_stride, 0);
      if (const muster_code code = multiply(1, shape.groupResults, shape.taps(), shape.positions(), left, right, to, 1, stream); code != MUSTER_OK) return code;
    }
    return MUSTER_OK;
  });
}
