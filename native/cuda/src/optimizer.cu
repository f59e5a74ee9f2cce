/**
 * SGD and Adam over lists of parameters. Bytes a parameter with 16-bit gradients and copies: Adam 28 (reads 2 + 4 + 4 + 4, writes 4 + 4 + 4 + 2), SGD with momentum 20.
 * The arithmetic is the CPU's own function (src/kernels/optimizer.h), compiled without fused multiply-adds and with IEEE roots and divisions: the same bits.
 * Versions: a launch for each tensor and an element a thread; lists, and 8 elements a thread in accesses of 16 bytes.
 */
#include "kernels/calls.h"
#include "kernels/optimizer.h"
#include "muster/cuda-kernels.h"
#include "tensor-list.cuh"

namespace muster::cuda {
namespace {

using kernels::AdamFactors;
using kernels::NoCopy;
using kernels::SgdFactors;

/** What a step of Adam takes from a loss scale, so that only one thread computes powers. */
struct StatedAdam {
  AdamFactors factors;
  bool isSkipped;
};

template <class Copy, int count>
__device__ __forceinline__ void storeCopy(void* copy, std::uint64_t at, const float (&weights)[count]) {
  if constexpr (!std::is_same_v<Copy, NoCopy>) store<Copy>(static_cast<typename Copy::Element*>(copy) + at, weights);
}

/** Fields: weights, gradient, momentum, copy. */
template <class Gradient, class Copy>
__global__ void __launch_bounds__(kBlockThreads) sgdKernel(TensorList<4> list, SgdFactors factors, const muster_cuda_loss_scale* state) {
  if (state != nullptr) {
    if (state->found_inf != 0) return;
    factors.firstStep = state->steps == 0;
  }
  const Chunk chunk = chunkOf(list, blockIdx.x);
  void* const* const data = list.data[chunk.tensor];
  forEachVector<8>(chunk.elements, list.isAligned[chunk.tensor], threadIdx.x, blockDim.x, [&](auto count, std::uint64_t offset) {
    constexpr int width = decltype(count)::value;
    const std::uint64_t at = chunk.offset + offset;
    float* const weightsAt = static_cast<float*>(data[0]) + at;
    float* const momentumAt = data[2] == nullptr ? nullptr : static_cast<float*>(data[2]) + at;
    float weights[width], gradients[width], momentum[width] = {};
    load<F32>(weightsAt, weights);
    load<Gradient>(static_cast<const typename Gradient::Element*>(data[1]) + at, gradients);
    if (momentumAt != nullptr) load<F32>(momentumAt, momentum);
#pragma unroll
    for (int index = 0; index < width; index++) weights[index] = kernels::reference::sgdStep(weights[index], gradients[index], momentumAt == nullptr ? nullptr : &momentum[index], factors);
    store<F32>(weightsAt, weights);
    if (momentumAt != nullptr) store<F32>(momentumAt, momentum);
    storeCopy<Copy>(data[3], at, weights);
  });
}

/** By one thread. */
__global__ void stateAdamKernel(muster_adam_options options, const muster_cuda_loss_scale* state, StatedAdam* stated) {
  options.step = state->steps + 1;
  stated->factors = kernels::adamFactors(options);
  stated->isSkipped = state->found_inf != 0;
}

/** Fields: weights, gradient, first moment, second moment, copy. */
template <class Gradient, class Copy>
__global__ void __launch_bounds__(kBlockThreads) adamKernel(TensorList<5> list, AdamFactors factors, const StatedAdam* stated) {
  if (stated != nullptr) {
    if (stated->isSkipped) return;
    factors = stated->factors;
  }
  const Chunk chunk = chunkOf(list, blockIdx.x);
  void* const* const data = list.data[chunk.tensor];
  forEachVector<8>(chunk.elements, list.isAligned[chunk.tensor], threadIdx.x, blockDim.x, [&](auto count, std::uint64_t offset) {
    constexpr int width = decltype(count)::value;
    const std::uint64_t at = chunk.offset + offset;
    float* const weightsAt = static_cast<float*>(data[0]) + at;
    float* const firstAt = static_cast<float*>(data[2]) + at;
    float* const secondAt = static_cast<float*>(data[3]) + at;
    float weights[width], gradients[width], first[width], second[width];
    load<F32>(weightsAt, weights);
    load<Gradient>(static_cast<const typename Gradient::Element*>(data[1]) + at, gradients);
    load<F32>(firstAt, first);
    load<F32>(secondAt, second);
#pragma unroll
    for (int index = 0; index < width; index++) weights[index] = kernels::reference::adamStep(weights[index], gradients[index], first[index], second[index], factors);
    store<F32>(weightsAt, weights);
    store<F32>(firstAt, first);
    store<F32>(secondAt, second);
    storeCopy<Copy>(data[4], at, weights);
  });
}

/** f32 stands for no copy. */
muster_dtype copyFormat(const muster_tensor& copy) { return copy.elements == 0 ? MUSTER_F32 : copy.dtype; }

/** Calls `start(gradientKind, copyKind, list)` for all lists of parameters that agree in both formats. */
template <int fields, class Parameter, class Describe, class Start>
muster_code forEachParameterList(const Parameter* parameters, std::uint64_t count, Describe describe, Start start) {
  for (const muster_dtype gradient : {MUSTER_F32, MUSTER_F16, MUSTER_BF16}) {
    for (const muster_dtype copy : {MUSTER_F32, MUSTER_F16, MUSTER_BF16}) {
      const auto belongs = [&](std::uint64_t index) { return parameters[index].gradient.dtype == gradient && copyFormat(parameters[index].copy) == copy; };
      const muster_code code = withTrainingFormat(gradient, [&](auto gradientKind) {
        return withTrainingFormat(copy, [&](auto kind) {
          using Copy = std::conditional_t<decltype(kind)::kDtype == MUSTER_F32, NoCopy, decltype(kind)>;
          return forEachList<fields>(count, belongs, describe, [&](const TensorList<fields>& list) { return start(gradientKind, Copy{}, list); });
        });
      });
      if (code != MUSTER_OK) return code;
    }
  }
  return MUSTER_OK;
}

void* copyOf(const muster_tensor& copy) { return copy.elements == 0 ? nullptr : copy.data; }

}  // namespace
}  // namespace muster::cuda

using namespace muster::cuda;

muster_code muster_cuda_sgd(const muster_sgd_parameter* parameters, uint64_t count, const muster_sgd_options* options, const muster_cuda_loss_scale* state, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkSgd(parameters, count, *options); code != MUSTER_OK) return code;
  const SgdFactors factors = muster::kernels::sgdFactors(*options);
  const auto describe = [&](std::uint64_t index, void** data) {
    const muster_sgd_parameter& one = parameters[index];
    data[0] = one.weights.data, data[1] = one.gradient.data, data[2] = options->momentum == 0 ? nullptr : one.momentum.data, data[3] = copyOf(one.copy);
    return one.weights.elements;
  };
  return forEachParameterList<4>(parameters, count, describe, [&](auto gradient, auto copy, const TensorList<4>& list) {
    return launch(sgdKernel<decltype(gradient), decltype(copy)>, list.chunks[list.count], kBlockThreads, 0, stream, list, factors, state);
  });
}

muster_code muster_cuda_adam(const muster_adam_parameter* parameters, uint64_t count, const muster_adam_options* options, const muster_cuda_loss_scale* state, muster_cuda_stream stream) {
  muster_adam_options checked = *options;
  if (state != nullptr) checked.step = 1;  // it is the state's
  if (const muster_code code = muster::kernels::checkAdam(parameters, count, checked); code != MUSTER_OK) return code;
  StreamMemory memory(stream);
  if (state != nullptr) {
    if (const muster_code code = memory.reserve(sizeof(StatedAdam)); code != MUSTER_OK) return code;
    if (const muster_code code = launch(stateAdamKernel, 1, 1, 0, stream, checked, state, static_cast<StatedAdam*>(memory.data())); code != MUSTER_OK) return code;
  }
  const AdamFactors factors = muster::kernels::adamFactors(checked);
  const auto describe = [&](std::uint64_t index, void** data) {
    const muster_adam_parameter& one = parameters[index];
    data[0] = one.weights.data, data[1] = one.gradient.data, data[2] = one.first_moment.data, data[3] = one.second_moment.data, data[4] = copyOf(one.copy);
    return one.weights.elements;
  };
  return forEachParameterList<5>(parameters, count, describe, [&](auto gradient, auto copy, const TensorList<5>& list) {
    return launch(adamKernel<decltype(gradient), decltype(copy)>, list.chunks[list.count], kBlockThreads, 0, stream, list, factors, static_cast<const StatedAdam*>(memory.data()));
  });
}
