/**
 * muster_cuda_gather and muster_cuda_scatter_add. Bytes: index, picked and as much of the indexed, once each. A gather has a thread for each element that is picked; a sum some for
 * each column of what is added to, each of which goes through the whole index in order and adds what belongs to its rows, of which each has one thread: no atomics, and the same bits every time.
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

/** From which row element (i, j, k) is picked, and from where. @returns false for an index outside its dimension */
__device__ __forceinline__ bool indexedPlace(const muster_index_call& call, std::uint64_t i, std::uint64_t j, std::uint64_t k, std::uint64_t& row, std::uint64_t& place) {
  const std::int64_t index = loadInteger(call.index.dtype, call.index.data, placeOf(call.index, i, j, k));
  if (index < 0 || static_cast<std::uint64_t>(index) >= call.extent) return false;
  row = static_cast<std::uint64_t>(index);
  place = placeOf(call.indexed, i, row, k);
  return true;
}

template <class Element>
__global__ void __launch_bounds__(kBlockThreads) gatherKernel(muster_index_call call, Element outside) {
  const std::uint64_t plane = call.shape[1] * call.shape[2];
  for (std::uint64_t position = threadOfGrid(); position < call.shape[0] * plane; position += threadsOfGrid()) {
    const std::uint64_t i = position / plane, j = position % plane / call.shape[2], k = position % call.shape[2];
    std::uint64_t row = 0, from = 0;
    const bool isInside = indexedPlace(call, i, j, k, row, from);
    static_cast<Element*>(call.picked.data)[placeOf(call.picked, i, j, k)] = isInside ? elementAt<Element>(call.indexed.data, from) : outside;
  }
}

/** @param groups a power of two: the threads of a column, of which each has the rows whose numbers end with its own */
__global__ void __launch_bounds__(kBlockThreads) scatterAddKernel(muster_index_call call, std::uint32_t groups) {
  const std::uint64_t columns = call.shape[0] * call.shape[2];
  for (std::uint64_t unit = threadOfGrid(); unit < columns * groups; unit += threadsOfGrid()) {
    const std::uint64_t column = unit % columns, group = unit / columns;
    const std::uint64_t i = column / call.shape[2], k = column % call.shape[2];
    for (std::uint64_t j = 0; j < call.shape[1]; j++) {
      std::uint64_t row = 0, to = 0;
      if (indexedPlace(call, i, j, k, row, to) && (row & (groups - 1)) == group) static_cast<float*>(call.indexed.data)[to] += elementAt<float>(call.picked.data, placeOf(call.picked, i, j, k));
    }
  }
}

/** Threads of a multiprocessor that hide each other's waiting for memory. */
constexpr std::uint64_t kBusyThreads = 1024;

/** How many threads share a column: as many as fill the device, and have rows. */
std::uint32_t groupsOf(std::uint64_t columns, std::uint64_t rows) {
  const std::uint64_t wanted = multiprocessors() * kBusyThreads;
  std::uint32_t groups = 1;
  while (2 * groups <= rows && 2 * groups * columns <= wanted) groups *= 2;
  return groups;
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
  const std::uint32_t groups = groupsOf(columns, call->extent);
  return launch(scatterAddKernel, blocksFor(columns * groups, kBlockThreads), kBlockThreads, 0, stream, *call, groups);
}
