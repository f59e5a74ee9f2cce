/**
 * muster_cuda_map. Bytes an element: what its inputs and its result have; inputs that repeat are read from the caches. A thread computes one element after another a grid apart, so
 * that neighbours lie together where the last dimension does.
 * Versions: this; 16 bytes a thread where all is dense would save instructions, of which f32 has enough time.
 * CPU reference: src/kernels/map.h, whose functions these are; exp, log, tanh and pow are the device's, within 2 units of the last place.
 */
#include "kernels/map.h"

#include "launch.h"
#include "muster/cuda-kernels.h"
#include "strided.cuh"

namespace muster::cuda {
namespace {

using kernels::Map;

template <bool areFloats, class Count>
__global__ void __launch_bounds__(kBlockThreads) mapKernel(Map map) {
  for (std::uint64_t position = threadOfGrid(); position < map.space.elements; position += threadsOfGrid()) {
    const auto at = [&](const Operand& operand) { return offsetOf(map.space, operand.strides, static_cast<Count>(position)); };
    const std::uint64_t to = at(map.result);
    if constexpr (areFloats) {
      float values[3] = {};
#pragma unroll
      for (unsigned index = 0; index < 3; index++) {
        if (index < map.inputs) values[index] = loadNumber(map.operands[index].dtype, map.operands[index].data, at(map.operands[index]));
      }
      storeNumber(map.result.dtype, map.result.data, to, kernels::reference::mapOne(map.operation, values[0], values[1], values[2]));
    } else {
      std::int64_t values[3] = {};
#pragma unroll
      for (unsigned index = 0; index < 3; index++) {
        if (index < map.inputs) values[index] = loadInteger(map.operands[index].dtype, map.operands[index].data, at(map.operands[index]));
      }
      std::int64_t result = 0;
      kernels::reference::mapInteger(map.operation, values[0], values[1], values[2], result);
      storeInteger(map.result.dtype, map.result.data, to, result);
    }
  }
}

}  // namespace
}  // namespace muster::cuda

using namespace muster::cuda;

muster_code muster_cuda_map(const muster_map_call* call, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkMap(*call); code != MUSTER_OK) return code;
  const Map map = muster::kernels::mapOf(*call);
  if (map.space.elements == 0) return MUSTER_OK;
  const unsigned blocks = blocksFor(map.space.elements, kBlockThreads);
  const bool areFloats = muster::kernels::mapsFloats(*call);
  return withCount(map.space.elements, [&](auto count) {
    return areFloats ? launch(mapKernel<true, decltype(count)>, blocks, kBlockThreads, 0, stream, map) : launch(mapKernel<false, decltype(count)>, blocks, kBlockThreads, 0, stream, map);
  });
}
