/**
 * Many tensors in few launches: a model has hundreds, most of them small. The list travels in the kernel's parameters (4 KiB at most), and each block
 * takes one chunk of one tensor. Versions: a launch for each tensor, where launches are what takes the time; this.
 */
#pragma once

#include "formats.cuh"
#include "launch.h"
#include "muster/tensor.h"

namespace muster::cuda {

inline constexpr unsigned kListTensors = 48;
/** Elements of a block: 64 for each of its threads, so that a block's start costs little. */
inline constexpr std::uint64_t kChunkElements = 16384;

template <int fields>
struct TensorList {
  void* data[kListTensors][fields];
  std::uint64_t elements[kListTensors];
  /** The number of each tensor's first chunk, and of all. */
  std::uint32_t chunks[kListTensors + 1];
  bool isAligned[kListTensors];
  std::uint32_t count;
};

/** A block's part of a list. */
struct Chunk {
  unsigned tensor;
  std::uint64_t offset;
  std::uint64_t elements;
};

template <int fields>
__device__ __forceinline__ Chunk chunkOf(const TensorList<fields>& list, unsigned block) {
  unsigned tensor = 0;
  while (list.chunks[tensor + 1] <= block) tensor++;
  const std::uint64_t offset = (block - list.chunks[tensor]) * kChunkElements;
  const std::uint64_t left = list.elements[tensor] - offset;
  return {tensor, offset, left < kChunkElements ? left : kChunkElements};
}

/**
 * Calls `start(list)` for lists of all tensors with elements for which `belongs(index)`. `describe(index, data)` fills in addresses, null for none,
 * and returns the elements.
 */
template <int fields, class Belongs, class Describe, class Start>
muster_code forEachList(std::uint64_t count, Belongs belongs, Describe describe, Start start) {
  constexpr std::uint64_t chunksMax = 1u << 30;
  TensorList<fields> list;
  list.count = 0;
  list.chunks[0] = 0;
  for (std::uint64_t index = 0; index < count; index++) {
    if (!belongs(index)) continue;
    const std::uint64_t elements = describe(index, list.data[list.count]);
    if (elements == 0) continue;
    bool isAligned = true;
    for (void* const data : list.data[list.count]) isAligned = isAligned && areAligned(data);
    const std::uint64_t chunks = (elements + kChunkElements - 1) / kChunkElements;
    if (chunks > chunksMax) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "a tensor of %llu elements is larger than a call can take", static_cast<unsigned long long>(elements));
    list.elements[list.count] = elements;
    list.isAligned[list.count] = isAligned;
    list.chunks[list.count + 1] = list.chunks[list.count] + static_cast<std::uint32_t>(chunks);
    list.count++;
    if (list.count < kListTensors && list.chunks[list.count] <= chunksMax / 2) continue;
    if (const muster_code code = start(list); code != MUSTER_OK) return code;
    list.count = 0;
  }
  return list.count == 0 ? MUSTER_OK : start(list);
}

}  // namespace muster::cuda
