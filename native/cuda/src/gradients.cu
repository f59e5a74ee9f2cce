/**
 * Unscaling, norms and clipping of lists of gradients, and the loss scale. Bytes an element of b bytes: unscale 2b (read and written in place), norm b, clip 3b, or
 * b where the norm is small enough. Squares are summed in f64, chunk by chunk, and the chunks' sums by one block: the same bits every time.
 * CPU reference: src/kernels/gradients.h.
 */
#include <cmath>

#include "kernels/calls.h"
#include "muster/cuda-kernels.h"
#include "reduce.cuh"
#include "tensor-list.cuh"

namespace muster::cuda {
namespace {

using GradientList = TensorList<1>;

template <class Format>
__device__ __forceinline__ typename Format::Element* gradientsOf(const GradientList& list, const Chunk& chunk) {
  return static_cast<typename Format::Element*>(list.data[chunk.tensor][0]) + chunk.offset;
}

/** Multiplies a chunk. @returns whether this thread has seen a number that is not finite. */
template <class Format>
__device__ __forceinline__ bool multiplyChunk(const GradientList& list, float factor) {
  const Chunk chunk = chunkOf(list, blockIdx.x);
  auto* const data = gradientsOf<Format>(list, chunk);
  bool found = false;
  forEachVector<kVector<Format>>(chunk.elements, list.isAligned[chunk.tensor], threadIdx.x, blockDim.x, [&](auto count, std::uint64_t at) {
    float values[decltype(count)::value];
    load<Format>(data + at, values);
#pragma unroll
    for (float& value : values) {
      found = found || (bitsOf(value) & kMagnitude) >= kInfinity;
      value *= factor;
    }
    store<Format>(data + at, values);
  });
  return found;
}

template <class Format>
__global__ void __launch_bounds__(kBlockThreads) unscaleKernel(GradientList list, muster_cuda_loss_scale* state) {
  const auto inverse = static_cast<float>(1.0 / static_cast<double>(state->scale));
  if (multiplyChunk<Format>(list, inverse)) state->found_inf = 1;  // whoever writes it writes the same
}

template <class Format>
__global__ void __launch_bounds__(kBlockThreads) sumOfSquaresKernel(GradientList list, double* sums) {
  const Chunk chunk = chunkOf(list, blockIdx.x);
  const auto* const data = gradientsOf<Format>(list, chunk);
  double sum = 0;
  forEachVector<kVector<Format>>(chunk.elements, list.isAligned[chunk.tensor], threadIdx.x, blockDim.x, [&](auto count, std::uint64_t at) {
    float values[decltype(count)::value];
    load<Format>(data + at, values);
#pragma unroll
    for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  });
  sum = reduceBlock(sum, 0.0, Add());
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

/** By one block. */
__global__ void __launch_bounds__(kBlockThreads) normKernel(const double* sums, std::uint64_t count, double* norm) {
  double sum = 0;
  for (std::uint64_t index = threadIdx.x; index < count; index += blockDim.x) sum += sums[index];
  sum = reduceBlock(sum, 0.0, Add());
  if (threadIdx.x == 0) *norm = sqrt(sum);
}

template <class Format>
__global__ void __launch_bounds__(kBlockThreads) clipKernel(GradientList list, double normMax, const double* norm) {
  constexpr double preventsDivisionByZero = 1e-6;  // PyTorch's
  const auto factor = static_cast<float>(normMax / (*norm + preventsDivisionByZero));
  if (!(factor >= 1)) multiplyChunk<Format>(list, factor);
}

/** By one thread. */
__global__ void updateKernel(muster_cuda_loss_scale* state, muster_cuda_loss_scale_options options) {
  muster_cuda_loss_scale next = *state;
  if (next.found_inf != 0) {
    next.scale *= options.backoff_factor;
    next.growth_tracker = 0;
  } else {
    next.steps++;
    next.growth_tracker++;
    if (next.growth_tracker >= options.growth_interval) {
      const float grown = next.scale * options.growth_factor;
      if (grown < floatOf(kInfinity)) next.scale = grown;
      next.growth_tracker = 0;
    }
  }
  next.found_inf = 0;
  *state = next;
}

/** `start(kind, list)` for all lists of gradients, each of one format. */
template <class Start>
muster_code forEachGradientList(const muster_tensor* gradients, std::uint64_t count, Start start) {
  for (const muster_dtype dtype : {MUSTER_F32, MUSTER_F16, MUSTER_BF16}) {
    const auto belongs = [&](std::uint64_t index) { return gradients[index].dtype == dtype; };
    const auto describe = [&](std::uint64_t index, void** data) { return data[0] = gradients[index].data, gradients[index].elements; };
    const muster_code code = withTrainingFormat(dtype, [&](auto kind) { return forEachList<1>(count, belongs, describe, [&](const GradientList& list) { return start(kind, list); }); });
    if (code != MUSTER_OK) return code;
  }
  return MUSTER_OK;
}

muster_code normOf(const muster_tensor* gradients, std::uint64_t count, double* norm, cudaStream_t stream) {
  std::uint64_t chunks = 0;
  for (std::uint64_t index = 0; index < count; index++) chunks += (gradients[index].elements + kChunkElements - 1) / kChunkElements;
  StreamMemory memory(stream);
  if (const muster_code code = memory.reserve((chunks + 1) * sizeof(double)); code != MUSTER_OK) return code;
  auto* const sums = static_cast<double*>(memory.data());
  std::uint64_t begun = 0;
  const muster_code code = forEachGradientList(gradients, count, [&](auto kind, const GradientList& list) {
    double* const ownSums = sums + begun;
    begun += list.chunks[list.count];
    return launch(sumOfSquaresKernel<decltype(kind)>, list.chunks[list.count], kBlockThreads, 0, stream, list, ownSums);
  });
  return code != MUSTER_OK ? code : launch(normKernel, 1, kBlockThreads, 0, stream, sums, chunks, norm);
}

muster_code checkResult(const void* result, const char* name) {
  if (result != nullptr && reinterpret_cast<std::uintptr_t>(result) % 8 == 0) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "the %s has no memory, or its address is not a multiple of 8 bytes", name);
}

}  // namespace
}  // namespace muster::cuda

using namespace muster::cuda;

muster_code muster_cuda_unscale(const muster_tensor* gradients, uint64_t count, muster_cuda_loss_scale* state, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkGradients(gradients, count, true); code != MUSTER_OK) return code;
  if (const muster_code code = checkResult(state, "loss scale"); code != MUSTER_OK) return code;
  return forEachGradientList(gradients, count, [&](auto kind, const GradientList& list) {
    return launch(unscaleKernel<decltype(kind)>, list.chunks[list.count], kBlockThreads, 0, stream, list, state);
  });
}

muster_code muster_cuda_gradient_norm(const muster_tensor* gradients, uint64_t count, double* norm, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkGradients(gradients, count, false); code != MUSTER_OK) return code;
  if (const muster_code code = checkResult(norm, "norm"); code != MUSTER_OK) return code;
  return normOf(gradients, count, norm, stream);
}

muster_code muster_cuda_clip_gradients(const muster_tensor* gradients, uint64_t count, double max_norm, double* norm, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkGradients(gradients, count, true); code != MUSTER_OK) return code;
  if (const muster_code code = muster::kernels::checkNormMax(max_norm); code != MUSTER_OK) return code;
  if (const muster_code code = checkResult(norm, "norm"); code != MUSTER_OK) return code;
  if (const muster_code code = normOf(gradients, count, norm, stream); code != MUSTER_OK) return code;
  return forEachGradientList(gradients, count, [&](auto kind, const GradientList& list) {
    return launch(clipKernel<decltype(kind)>, list.chunks[list.count], kBlockThreads, 0, stream, list, max_norm, static_cast<const double*>(norm));
  });
}

muster_code muster_cuda_loss_scale_update(muster_cuda_loss_scale* state, const muster_cuda_loss_scale_options* options, muster_cuda_stream stream) {
  if (const muster_code code = checkResult(state, "loss scale"); code != MUSTER_OK) return code;
  if (!(options->growth_factor > 1) || !std::isfinite(options->growth_factor) || !(options->backoff_factor > 0 && options->backoff_factor < 1) || options->growth_interval == 0) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "a loss scale cannot grow by %g every %u updates and shrink by %g: above 1, above 0, between 0 and 1", static_cast<double>(options->growth_factor),
                       options->growth_interval, static_cast<double>(options->backoff_factor));
  }
  return launch(updateKernel, 1, 1, 0, stream, state, *options);
}
