#include "kernels/check.h"

#include <algorithm>
#include <cinttypes>
#include <string>

#include "status.h"

namespace muster::kernels {
namespace {

std::string namesOf(DtypeSet dtypes) {
  std::string names;
  for (std::uint32_t dtype = 0; dtype < MUSTER_DTYPE_COUNT; dtype++) {
    if ((dtypes & 1u << dtype) != 0) names += (names.empty() ? "" : ", ") + std::string(dtypeName(static_cast<muster_dtype>(dtype)));
  }
  return names;
}

}  // namespace

void TensorCheck::add(const muster_tensor& tensor, const char* name, DtypeSet dtypes, bool isWritten) {
  if (code_ != MUSTER_OK) return;
  if (!isDtype(tensor.dtype) || (dtypes & setOf(tensor.dtype)) == 0) {
    code_ = MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s %" PRIu64 " has the dtype %s; this call takes %s", name, index_, dtypeName(tensor.dtype), namesOf(dtypes).c_str());
    return;
  }
  if (tensor.elements == 0) return;
  const auto begin = reinterpret_cast<std::uintptr_t>(tensor.data);
  const std::size_t bytes = elementBytes(tensor.dtype);
  if (tensor.data == nullptr || tensor.elements > (UINTPTR_MAX - begin) / bytes) {
    code_ = MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s %" PRIu64 " has no memory for its %" PRIu64 " elements", name, index_, tensor.elements);
    return;
  }
  if (begin % bytes != 0) {
    code_ = MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s %" PRIu64 " is not aligned: its address must be a multiple of %zu bytes", name, index_, bytes);
    return;
  }
  extents_.push_back({begin, begin + tensor.elements * bytes, name, index_, isWritten});
}

void TensorCheck::hasElements(const muster_tensor& tensor, const char* name, std::uint64_t wanted, const char* source) {
  if (code_ != MUSTER_OK || tensor.elements == wanted) return;
  code_ = MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s %" PRIu64 " has %" PRIu64 " elements, and %" PRIu64 " are wanted: as many as %s", name, index_, tensor.elements, wanted, source);
}

void TensorCheck::writesOver(const muster_tensor& tensor, const char* name, const muster_tensor& input, DtypeSet dtypes) {
  if (tensor.data == input.data && tensor.elements == input.elements && tensor.dtype == input.dtype) removeReadsOf(input);
  writes(tensor, name, dtypes);
}

void TensorCheck::removeReadsOf(const muster_tensor& tensor) {
  const auto begin = reinterpret_cast<std::uintptr_t>(tensor.data);
  const std::uintptr_t end = begin + tensor.elements * (isDtype(tensor.dtype) ? elementBytes(tensor.dtype) : 0);
  std::erase_if(extents_, [&](const Extent& extent) { return extent.begin == begin && extent.end == end && !extent.isWritten; });
}

void TensorCheck::hasDtype(const muster_tensor& tensor, const char* name, muster_dtype wanted) {
  if (code_ != MUSTER_OK || tensor.dtype == wanted) return;
  code_ = MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s %" PRIu64 " has the dtype %s, and %s is wanted", name, index_, dtypeName(tensor.dtype), dtypeName(wanted));
}

muster_code TensorCheck::code() {
  if (code_ != MUSTER_OK) return code_;
  std::sort(extents_.begin(), extents_.end(), [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  // The extent that reaches furthest, of all before, and of those that are written.
  const Extent* any = nullptr;
  const Extent* written = nullptr;
  for (const Extent& extent : extents_) {
    const Extent* other = extent.isWritten ? any : written;
    if (other != nullptr && extent.begin < other->end) {
      return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s %" PRIu64 " and %s %" PRIu64 " overlap, and one of them is written", other->name, other->index, extent.name, extent.index);
    }
    if (any == nullptr || extent.end > any->end) any = &extent;
    if (extent.isWritten && (written == nullptr || extent.end > written->end)) written = &extent;
  }
  return MUSTER_OK;
}

muster_code checkThreads(std::uint32_t threads) {
  if (threads <= MUSTER_THREADS_MAX) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%" PRIu32 " threads are more than the %u that a call may have; 0 is one for each core", threads, MUSTER_THREADS_MAX);
}

}  // namespace muster::kernels
