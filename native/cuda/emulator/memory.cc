/**
 * Device memory of the emulator. Pieces that are large enough for the buffers of a group lie in files without a name, which other processes map by the number
 * that they have here: that is what the handles of CUDA IPC stand for.
 */
#include <cuda_runtime.h>

#include <cstdio>
#include <map>
#include <mutex>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace {

/** Smaller ones are the allocator's: a tensor has no use for a file, and a process may not have many. */
constexpr std::size_t kSharedFromBytes = std::size_t{1} << 20;

struct Mapping {
  std::size_t sizeBytes;
  /** -1: it is another process's. */
  int file;
};

struct Handle {
  pid_t process;
  int file;
  std::size_t sizeBytes;
};
static_assert(sizeof(Handle) <= sizeof(cudaIpcMemHandle_t));

std::mutex mutex;
std::map<void*, Mapping> mappings;

cudaError_t map(void** data, int file, std::size_t bytes, int kept) {
  *data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (*data == MAP_FAILED) return cudaErrorMemoryAllocation;
  const std::lock_guard lock(mutex);
  mappings[*data] = {bytes, kept};
  return cudaSuccess;
}

/** @returns false for what was not mapped. */
bool unmap(void* data) {
  const std::lock_guard lock(mutex);
  const auto found = mappings.find(data);
  if (found == mappings.end()) return false;
  ::munmap(data, found->second.sizeBytes);
  if (found->second.file >= 0) ::close(found->second.file);
  mappings.erase(found);
  return true;
}

}  // namespace

cudaError_t cudaMalloc(void** data, std::size_t bytes) {
  if (bytes < kSharedFromBytes) {
    *data = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    return *data == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
  }
  const int file = ::memfd_create("emulated-gpu", MFD_CLOEXEC);
  if (file < 0) return cudaErrorMemoryAllocation;
  const cudaError_t error = ::ftruncate(file, static_cast<off_t>(bytes)) == 0 ? map(data, file, bytes, file) : cudaErrorMemoryAllocation;
  if (error != cudaSuccess) ::close(file);
  return error;
}

cudaError_t cudaFree(void* data) {
  if (!unmap(data)) std::free(data);
  return cudaSuccess;
}

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* data) {
  const std::lock_guard lock(mutex);
  const auto found = mappings.find(data);
  if (found == mappings.end()) return cudaErrorInvalidValue;
  const Handle own{::getpid(), found->second.file, found->second.sizeBytes};
  std::memcpy(handle, &own, sizeof own);
  return cudaSuccess;
}

cudaError_t cudaIpcOpenMemHandle(void** data, cudaIpcMemHandle_t handle, unsigned) {
  Handle theirs;
  std::memcpy(&theirs, &handle, sizeof theirs);
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/fd/%d", theirs.process, theirs.file);
  const int file = ::open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return cudaErrorInvalidValue;
  const cudaError_t error = map(data, file, theirs.sizeBytes, -1);
  ::close(file);
  return error;
}

cudaError_t cudaIpcCloseMemHandle(void* data) { return unmap(data) ? cudaSuccess : cudaErrorInvalidValue; }
