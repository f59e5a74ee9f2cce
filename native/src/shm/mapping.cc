#include "shm/mapping.h"

#include <atomic>
#include <cerrno>

#include "muster/arena.h"

namespace muster {
namespace {

constexpr std::uintptr_t kSegmentBytes = MUSTER_SEGMENT_BYTES;
constexpr int kReadWrite = PROT_READ | PROT_WRITE;

/**
 * The end of an aligned range of addresses that was free a moment ago. Asking the kernel for the addresses right
 * below it mostly finds them free, and saves the three further calls of reserving an aligned place: 4 of 10 us a view. It is
 * only a hint: the kernel never maps over something else, and may answer with another address.
 */
std::atomic<std::uintptr_t> freeEnd{0};

bool isAligned(void* data) { return reinterpret_cast<std::uintptr_t>(data) % kSegmentBytes == 0; }

void* rememberPlace(void* data) {
  freeEnd.store(reinterpret_cast<std::uintptr_t>(data), std::memory_order_relaxed);
  return data;
}

}  // namespace

void* mapSegments(const FileRange& range, int flags) {
  const auto offset = static_cast<off_t>(range.offset);
  const std::uintptr_t end = freeEnd.load(std::memory_order_relaxed);
  if (end > range.sizeBytes) {
    void* wanted = reinterpret_cast<void*>(end - range.sizeBytes);
    void* data = ::mmap(wanted, range.sizeBytes, kReadWrite, flags, range.file, offset);
    if (data == MAP_FAILED) return data;
    if (isAligned(data)) return rememberPlace(data);
    ::munmap(data, range.sizeBytes);
  }
  const std::uint64_t reservedBytes = range.sizeBytes + kSegmentBytes;
  void* reserved = ::mmap(nullptr, reservedBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return reserved;
  auto* first = static_cast<std::byte*>(reserved);
  auto* aligned = first + (kSegmentBytes - reinterpret_cast<std::uintptr_t>(reserved) % kSegmentBytes) % kSegmentBytes;
  void* data = ::mmap(aligned, range.sizeBytes, kReadWrite, flags | MAP_FIXED, range.file, offset);
  if (data == MAP_FAILED) {
    const int errorNumber = errno;
    ::munmap(reserved, reservedBytes);
    errno = errorNumber;
    return data;
  }
  const std::uint64_t headBytes = static_cast<std::uint64_t>(aligned - first);
  if (headBytes > 0) ::munmap(first, headBytes);
  if (headBytes < kSegmentBytes) ::munmap(aligned + range.sizeBytes, kSegmentBytes - headBytes);
  return rememberPlace(data);
}

void unmapSegments(void* data, std::uint64_t sizeBytes) {
  ::munmap(data, sizeBytes);
  rememberPlace(static_cast<std::byte*>(data) + sizeBytes);
}

}  // namespace muster
