/**
 * muster_cuda_convert. Bytes an element: 4 + 2 for the 16-bit formats, 4 + 1 for FP8.
 * Versions: an element a thread, 2-byte accesses; vectors of 16 bytes on the smaller side.
 * CPU reference: src/kernels/convert.h, whose bits these are.
 */
#include "formats.cuh"
#include "kernels/calls.h"
#include "launch.h"
#include "muster/cuda-kernels.h"

namespace muster::cuda {
namespace {

template <class Source, class Target>
__global__ void __launch_bounds__(kBlockThreads) convertKernel(const typename Source::Element* source, typename Target::Element* target, std::uint64_t elements, bool aligned) {
  const std::uint64_t thread = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  forEachVector<kVector<Source, Target>>(elements, aligned, thread, std::uint64_t{gridDim.x} * blockDim.x, [&](auto count, std::uint64_t at) {
    float values[decltype(count)::value];
    load<Source>(source + at, values);
    store<Target>(target + at, values);
  });
}

template <class Source, class Target>
muster_code convert(const muster_tensor& source, const muster_tensor& target, cudaStream_t stream) {
  const unsigned blocks = blocksFor(source.elements, kBlockThreads * kVector<Source, Target>);
  return launch(convertKernel<Source, Target>, blocks, kBlockThreads, 0, stream, static_cast<const typename Source::Element*>(source.data), static_cast<typename Target::Element*>(target.data),
                source.elements, areAligned(source.data, target.data));
}

}  // namespace
}  // namespace muster::cuda

muster_code muster_cuda_convert(const muster_tensor* source, const muster_tensor* target, muster_cuda_stream stream) {
  using namespace muster::cuda;
  if (const muster_code code = muster::kernels::checkConvert(*source, *target); code != MUSTER_OK) return code;
  if (source->elements == 0) return MUSTER_OK;
  const bool narrows = source->dtype == MUSTER_F32;
  return muster::kernels::withFormat(narrows ? target->dtype : source->dtype, [&](auto kind) -> muster_code {
    using Small = decltype(kind);
    if constexpr (Small::kDtype == MUSTER_F32) {
      return MUSTER_OK;  // refused above
    } else {
      return narrows ? convert<F32, Small>(*source, *target, stream) : convert<Small, F32>(*source, *target, stream);
    }
  });
}
