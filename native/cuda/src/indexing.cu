/**
 * muster_cuda_gather and muster_cuda_scatter_add. Bytes: index, picked and as much of the indexed, once each. A gather has a thread for each element that is picked; a sum one for each
 * column of what is added to, which goes through the index in order: no atomics, and the same bits every time, but one thread alone where there is one column.
 * CPU reference: src/kernels/indexing.cc.
 */
#include "launch.h"
#include "muster/cuda-kernels.h"
#include "strided.cuh"

namespace muster::cuda {
namespace {

__device__ __forceinline__ std::uint64_t placeOf(const muster_strided& tensor, std::uint64_t i, std::uint64_t j, std::uint64_t k) {
  return tensor.offset + i * tensor.strides[0] + j * tensor.strides[1] + k * tensor.strides[2];
}

/** Where element (i, j, k) is picked. @returns false for an index outside its dimension */
__device__ __forceinline__ bool indexedPlace(const muster_index_call& call, std::uint64_t i, std::uint64_t j, std::uint64_t k, std::uint64_t& place) {
  const std::int64_t index = loadInteger(call.index.dtype, call.index.data, placeOf(call.index, i, j, k));
  if (index < 0 || static_cast<std::uint64_t>(index) >= call.extent) return false;
  place = placeOf(call.indexed, i, static_cast<std::uint64_t>(index), k);
  return true;
}

template <class Element>
__global__ void __launch_bounds__(kBlockThreads) gatherKernel(muster_index_call call, Element outside) {
  const std::uint64_t row = call.shape[1] * call.shape[2];
  for (std::uint64_t position = threadOfGrid(); position < call.shape[0] * row; position += threadsOfGrid()) {
    const std::uint64_t i = position / row, j = position % row / call.shape[2], k = position % call.shape[2];
    std::uint64_t from = 0;
    const bool isInside = indexedPlace(call, i, j, k, from);
    static_cast<Element*>(call.picked.data)[placeOf(call.picked, i, j, k)] = isInside ? elementAt<Element>(call.indexed.data, from) : outside;
  }
}

__global__ void __launch_bounds__(kBlockThreads) scatterAddKernel(muster_index_call call) {
  for (std::uint64_t column = threadOfGrid(); column < call.shape[0] * call.shape[2]; column += threadsOfGrid()) {
    const std::uint64_t i = column / call.shape[2], k = column % call.shape[2];
    for (std::uint64_t j = 0; j < call.shape[1]; j++) {
      std::uint64_t to = 0;
      if (indexedPlace(call, i, j, k, to)) static_cast<float*>(call.indexed.data)[to] += elementAt<float>(call.picked.data, placeOf(call.picked, i, j, k));
    }
  }
}

/** NaN, or of integers 0. */
std::uint32_t outsideOf(muster_dtype dtype) { return dtype == MUSTER_F32 ? 0x7fc00000 : dtype == MUSTER_F16 ? 0x7e00 : dtype == MUSTER_BF16 ? 0x7fc0 : 0; }

}  // namespace
}  // namespace muster::cuda

using namespace muster::cuda;

muster_code muster_cuda_gather(const muster_index_call* call, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkIndexing(*call, false); code != MUSTER_OK) return code;
  const std::uint64_t elements = call->shape[0] * call->shape[1] * call->shape[2];
  if (elements == 0) return MUSTER_OK;
  const unsigned blocks = blocksFor(elements, kBlockThreads);
  const std::uint32_t outside = outsideOf(call->indexed.dtype);
  switch (muster::elementBytes(call->indexed.dtype)) {
    case 8: return launch(gatherKernel<std::uint64_t>, blocks, kBlockThreads, 0, stream, *call, outside);
    case 4: return launch(gatherKernel<std::uint32_t>, blocks, kBlockThreads, 0, stream, *call, outside);
    case 2: return launch(gatherKernel<std::uint16_t>, blocks, kBlockThreads, 0, stream, *call, outside);
    default: return launch(gatherKernel<std::uint8_t>, blocks, kBlockThreads, 0, stream, *call, outside);
  }
}

muster_code muster_cuda_scatter_add(const muster_index_call* call, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkIndexing(*call, true); code != MUSTER_OK) return code;
  const std::uint64_t columns = call->shape[0] * call->shape[2];
  if (columns == 0 || call->shape[1] == 0) return MUSTER_OK;
  return launch(scatterAddKernel, blocksFor(columns, kBlockThreads), kBlockThreads, 0, stream, *call);
}
