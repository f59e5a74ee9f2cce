#include "kernels/check.h"

#include <algorithm>
#include <cinttypes>
#include <string>

#include "status.h"

namespace muster::kernels {
namespace {

constexpr const char* kFormatNames[MUSTER_FORMAT_COUNT] = {"f32", "f16", "bf16", "f8e4m3", "f8e5m2"};
constexpr std::uint64_t kFormatBytes[MUSTER_FORMAT_COUNT] = {4, 2, 2, 1, 1};

bool isFormat(muster_format format) { return static_cast<std::uint32_t>(format) < MUSTER_FORMAT_COUNT; }

std::string namesOf(FormatSet formats) {
  std::string names;
  for (std::uint32_t format = 0; format < MUSTER_FORMAT_COUNT; format++) {
    if ((formats & 1u << format) != 0) names += (names.empty() ? "" : ", ") + std::string(kFormatNames[format]);
  }
  return names;
}

}  // namespace

const char* formatName(muster_format format) { return isFormat(format) ? kFormatNames[format] : "an unknown format"; }

std::uint64_t formatBytes(muster_format format) { return kFormatBytes[format]; }

void TensorCheck::add(const muster_tensor& tensor, const char* name, FormatSet formats, bool isWritten) {
  if (code_ != MUSTER_OK) return;
  if (!isFormat(tensor.format) || (formats & setOf(tensor.format)) == 0) {
    code_ = MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s %" PRIu64 " has the format %s; this call takes %s", name, index_, formatName(tensor.format), namesOf(formats).c_str());
    return;
  }
  if (tensor.elements == 0) return;
  const auto begin = reinterpret_cast<std::uintptr_t>(tensor.data);
  const std::uint64_t elementBytes = formatBytes(tensor.format);
  if (tensor.data == nullptr || tensor.elements > (UINTPTR_MAX - begin) / elementBytes) {
    code_ = MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s %" PRIu64 " has no memory for its %" PRIu64 " elements", name, index_, tensor.elements);
    return;
  }
  if (begin % elementBytes != 0) {
    code_ = MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s %" PRIu64 " is not aligned: its address must be a multiple of %" PRIu64 " bytes", name, index_, elementBytes);
    return;
  }
  extents_.push_back({begin, begin + tensor.elements * elementBytes, name, index_, isWritten});
}

void TensorCheck::hasElements(const muster_tensor& tensor, const char* name, std::uint64_t wanted, const char* source) {
  if (code_ != MUSTER_OK || tensor.elements == wanted) return;
  code_ = MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s %" PRIu64 " has %" PRIu64 " elements, and %" PRIu64 " are wanted: as many as %s", name, index_, tensor.elements, wanted, source);
}

void TensorCheck::writesOver(const muster_tensor& tensor, const char* name, const muster_tensor& input, FormatSet formats) {
  if (tensor.data == input.data && tensor.elements == input.elements && tensor.format == input.format) removeReadsOf(input);
  writes(tensor, name, formats);
}

void TensorCheck::removeReadsOf(const muster_tensor& tensor) {
  const auto begin = reinterpret_cast<std::uintptr_t>(tensor.data);
  const std::uintptr_t end = begin + tensor.elements * (isFormat(tensor.format) ? formatBytes(tensor.format) : 0);
  std::erase_if(extents_, [&](const Extent& extent) { return extent.begin == begin && extent.end == end && !extent.isWritten; });
}

void TensorCheck::hasFormat(const muster_tensor& tensor, const char* name, muster_format wanted) {
  if (code_ != MUSTER_OK || tensor.format == wanted) return;
  code_ = MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%s %" PRIu64 " has the format %s, and %s is wanted", name, index_, formatName(tensor.format), formatName(wanted));
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
