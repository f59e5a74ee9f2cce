/** Picking by index along one dimension, and its gradient. Bytes: index, picked and as much of the indexed, once each. */
#include <cinttypes>
#include <cstring>

#include "kernels/check.h"
#include "kernels/strided.h"
#include "kernels/threads.h"
#include "status.h"

namespace muster::kernels {
namespace {

std::int64_t indexAt(const muster_strided& index, std::uint64_t place) {
  return index.dtype == MUSTER_I64 ? static_cast<const std::int64_t*>(index.data)[place] : static_cast<const std::int32_t*>(index.data)[place];
}

std::uint64_t placeOf(const muster_strided& tensor, std::uint64_t i, std::uint64_t j, std::uint64_t k) {
  return tensor.offset + i * tensor.strides[0] + j * tensor.strides[1] + k * tensor.strides[2];
}

bool isInside(std::int64_t index, std::uint64_t extent) { return index >= 0 && static_cast<std::uint64_t>(index) < extent; }

bool isEmpty(const muster_index_call& call) { return call.shape[0] == 0 || call.shape[1] == 0 || call.shape[2] == 0; }

/** That every index is in its dimension. */
muster_code checkIndices(const muster_index_call& call) {
  if (isEmpty(call)) return MUSTER_OK;
  for (std::uint64_t i = 0; i < call.shape[0]; i++) {
    for (std::uint64_t j = 0; j < call.shape[1]; j++) {
      for (std::uint64_t k = 0; k < call.shape[2]; k++) {
        const std::int64_t at = indexAt(call.index, placeOf(call.index, i, j, k));
        if (!isInside(at, call.extent)) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "the index %" PRId64 " is outside a dimension of %" PRIu64, at, call.extent);
      }
    }
  }
  return MUSTER_OK;
}

template <class Element, class Each>
void forEachIndexed(const muster_index_call& call, std::uint32_t threads, Each each) {
  if (isEmpty(call)) return;
  auto* indexed = static_cast<Element*>(call.indexed.data);
  auto* picked = static_cast<Element*>(call.picked.data);
  parallelFor(threadCount(threads), call.shape[0], [&](std::size_t i) {
    for (std::uint64_t j = 0; j < call.shape[1]; j++) {
      for (std::uint64_t k = 0; k < call.shape[2]; k++) {
        const std::int64_t index = indexAt(call.index, placeOf(call.index, i, j, k));
        if (!isInside(index, call.extent)) continue;  // once more: another thread may have written there
        each(indexed[placeOf(call.indexed, i, static_cast<std::uint64_t>(index), k)], picked[placeOf(call.picked, i, j, k)]);
      }
    }
  });
}

template <class Element>
void gatherAll(const muster_index_call& call, std::uint32_t threads) {
  forEachIndexed<Element>(call, threads, [](const Element& from, Element& to) { to = from; });
}

}  // namespace
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_gather(const muster_index_call* call, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkIndexing(*call, false); code != MUSTER_OK) return code;
  if (const muster_code code = checkIndices(*call); code != MUSTER_OK) return code;
  switch (muster::elementBytes(call->indexed.dtype)) {
    case 8: gatherAll<std::uint64_t>(*call, threads); break;
    case 4: gatherAll<std::uint32_t>(*call, threads); break;
    case 2: gatherAll<std::uint16_t>(*call, threads); break;
    default: gatherAll<std::uint8_t>(*call, threads);
  }
  return MUSTER_OK;
}

muster_code muster_scatter_add(const muster_index_call* call, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkIndexing(*call, true); code != MUSTER_OK) return code;
  if (const muster_code code = checkIndices(*call); code != MUSTER_OK) return code;
  forEachIndexed<float>(*call, threads, [](float& sum, const float& addend) { sum += addend; });
  return MUSTER_OK;
}
