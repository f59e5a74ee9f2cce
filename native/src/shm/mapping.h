/** Owners of what the operating system lends: file descriptors and mapped address ranges. */
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

namespace muster {

class FileDescriptor {
 public:
  explicit FileDescriptor(int number = -1) : number_(number) {}
  FileDescriptor(FileDescriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~FileDescriptor() {
    if (number_ >= 0) ::close(number_);
  }
  int number() const { return number_; }

 private:
  int number_;
};

class Mapping {
 public:
  Mapping() = default;
  Mapping(void* data, std::size_t sizeBytes) : data_(static_cast<std::byte*>(data)), sizeBytes_(sizeBytes) {}
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), sizeBytes_(std::exchange(other.sizeBytes_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(sizeBytes_, other.sizeBytes_);
    return *this;
  }
  ~Mapping() {
    if (data_ != nullptr) ::munmap(data_, sizeBytes_);
  }
  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t sizeBytes_ = 0;
};

struct FileRange {
  int file;
  std::uint64_t offset;
  std::uint64_t sizeBytes;
};

/**
 * Maps whole segments of a file, to read and write, at an address that is a multiple of the segment size: only
 * there can one page-table entry map a huge page. `flags` says MAP_SHARED or MAP_PRIVATE.
 * @returns MAP_FAILED, with errno.
 */
void* mapSegments(const FileRange& range, int flags);

/** Unmaps what mapSegments mapped, and remembers the place for the next. */
void unmapSegments(void* data, std::uint64_t sizeBytes);

}  // namespace muster
