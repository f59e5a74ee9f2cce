/** Devices, memory, streams and events: muster/cuda.h over the CUDA runtime. */
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <thread>

#include "launch.h"

namespace muster::cuda {
namespace {

/** How often a host that waits looks: often enough for short kernels, seldom enough to leave the core to others. */
constexpr auto kLookEvery = std::chrono::microseconds(50);
/** So long it looks without a pause. */
constexpr auto kLookAtOnce = std::chrono::microseconds(100);

/** What a pool keeps when streams are waited for, so that the next call need not ask the system: the scratch memory of two products. */
constexpr std::uint64_t kPoolKeepsBytes = std::uint64_t{64} << 20;
/** Devices of a process, at most: what one machine has. */
constexpr std::size_t kDevicesMax = 64;

/** The pool of this thread's device, made at its first use and kept until the process ends: others' use of the device's own pool is left alone. */
muster_code poolOf(cudaMemPool_t& pool) {
  static std::array<cudaMemPool_t, kDevicesMax> pools{};
  static std::mutex mutex;
  int device = 0;
  MUSTER_CUDA_TRY(cudaGetDevice(&device));
  if (static_cast<std::size_t>(device) >= kDevicesMax) return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "device %d is beyond the first %zu", device, kDevicesMax);
  const std::lock_guard lock(mutex);
  cudaMemPool_t& own = pools[static_cast<std::size_t>(device)];
  if (own == nullptr) {
    cudaMemPoolProps properties{};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location.type = cudaMemLocationTypeDevice;
    properties.location.id = device;
    MUSTER_CUDA_TRY(cudaMemPoolCreate(&own, &properties));
    std::uint64_t keeps = kPoolKeepsBytes;
    MUSTER_CUDA_TRY(cudaMemPoolSetAttribute(own, cudaMemPoolAttrReleaseThreshold, &keeps));
  }
  pool = own;
  return MUSTER_OK;
}

/** Looks until `query` says that it is done. */
template <class Query>
muster_code waitFor(Query query, std::uint32_t timeoutMs, const char* what) {
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    const cudaError_t error = query();
    if (error == cudaSuccess) return MUSTER_OK;
    if (error != cudaErrorNotReady) return deviceFailure(error, what, __FILE__, __LINE__);
    const auto waited = std::chrono::steady_clock::now() - start;
    if (waited > std::chrono::milliseconds(timeoutMs)) return MUSTER_FAIL(MUSTER_TIMED_OUT, 0, "%s has not ended within %u ms", what, timeoutMs);
    if (waited > kLookAtOnce) std::this_thread::sleep_for(kLookEvery);
  }
}

}  // namespace

muster_code deviceFailure(cudaError_t error, const char* what, const char* file, int line) {
  cudaGetLastError();  // it would be reported again by the next launch
  if (error == cudaErrorMemoryAllocation) return recordFailure(MUSTER_SYSTEM_ERROR, ENOMEM, file, line, "%s: the device has no memory left", what);
  const bool isAbsent = error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver;
  return recordFailure(isAbsent ? MUSTER_UNAVAILABLE : MUSTER_DEVICE_FAILED, 0, file, line, "%s: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

unsigned multiprocessors() {
  int device = 0;
  int count = 0;
  if (cudaGetDevice(&device) != cudaSuccess || cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) return 1;
  return static_cast<unsigned>(count);
}

int computeCapability() {
  int device = 0;
  int major = 0;
  int minor = 0;
  if (cudaGetDevice(&device) != cudaSuccess || cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess) {
    return 0;
  }
  return major * 10 + minor;
}

muster_code StreamMemory::reserve(std::size_t sizeBytes) {
  cudaMemPool_t pool = nullptr;
  if (const muster_code code = poolOf(pool); code != MUSTER_OK) return code;
  MUSTER_CUDA_TRY(cudaMallocFromPoolAsync(&data_, sizeBytes, pool, stream_));
  return MUSTER_OK;
}

}  // namespace muster::cuda

using muster::cuda::deviceFailure;
using muster::cuda::waitFor;

const muster_failure* muster_cuda_last_failure(void) { return muster_last_failure(); }

muster_code muster_cuda_device_count(uint32_t* count) {
  int found = 0;
  MUSTER_CUDA_TRY(cudaGetDeviceCount(&found));
  *count = static_cast<uint32_t>(found);
  return MUSTER_OK;
}

muster_code muster_cuda_device_describe(uint32_t index, muster_cuda_device* device) {
  cudaDeviceProp properties;
  MUSTER_CUDA_TRY(cudaGetDeviceProperties(&properties, static_cast<int>(index)));
  *device = {};
  std::snprintf(device->name, sizeof device->name, "%s", properties.name);
  std::memcpy(device->uuid, properties.uuid.bytes, sizeof device->uuid);
  device->memory_bytes = properties.totalGlobalMem;
  device->major = static_cast<uint32_t>(properties.major);
  device->minor = static_cast<uint32_t>(properties.minor);
  device->multiprocessors = static_cast<uint32_t>(properties.multiProcessorCount);
  return MUSTER_OK;
}

muster_code muster_cuda_device_use(uint32_t index) {
  MUSTER_CUDA_TRY(cudaSetDevice(static_cast<int>(index)));
  return MUSTER_OK;
}

muster_code muster_cuda_device_current(uint32_t* index) {
  int current = 0;
  MUSTER_CUDA_TRY(cudaGetDevice(&current));
  *index = static_cast<uint32_t>(current);
  return MUSTER_OK;
}

muster_code muster_cuda_allocate(uint64_t size_bytes, void** data) {
  *data = nullptr;
  if (size_bytes == 0) return MUSTER_OK;
  MUSTER_CUDA_TRY(cudaMalloc(data, size_bytes));
  return MUSTER_OK;
}

muster_code muster_cuda_free(void* data) {
  MUSTER_CUDA_TRY(cudaFree(data));
  return MUSTER_OK;
}

muster_code muster_cuda_host_allocate(uint64_t size_bytes, void** data) {
  *data = nullptr;
  if (size_bytes == 0) return MUSTER_OK;
  MUSTER_CUDA_TRY(cudaHostAlloc(data, size_bytes, cudaHostAllocDefault));
  return MUSTER_OK;
}

muster_code muster_cuda_host_free(void* data) {
  MUSTER_CUDA_TRY(cudaFreeHost(data));
  return MUSTER_OK;
}

muster_code muster_cuda_copy(void* target, const void* source, uint64_t size_bytes, muster_cuda_stream stream) {
  if (size_bytes == 0) return MUSTER_OK;
  MUSTER_CUDA_TRY(cudaMemcpyAsync(target, source, size_bytes, cudaMemcpyDefault, stream));
  return MUSTER_OK;
}

muster_code muster_cuda_fill(void* target, uint8_t value, uint64_t size_bytes, muster_cuda_stream stream) {
  if (size_bytes == 0) return MUSTER_OK;
  MUSTER_CUDA_TRY(cudaMemsetAsync(target, value, size_bytes, stream));
  return MUSTER_OK;
}

muster_code muster_cuda_stream_create(muster_cuda_stream* stream) {
  MUSTER_CUDA_TRY(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking));
  return MUSTER_OK;
}

muster_code muster_cuda_stream_destroy(muster_cuda_stream stream) {
  MUSTER_CUDA_TRY(cudaStreamDestroy(stream));
  return MUSTER_OK;
}

muster_code muster_cuda_stream_wait(muster_cuda_stream stream, uint32_t timeout_ms) {
  return waitFor([&] { return cudaStreamQuery(stream); }, timeout_ms, "the work of a stream");
}

muster_code muster_cuda_event_create(muster_cuda_event* event) {
  MUSTER_CUDA_TRY(cudaEventCreate(event));
  return MUSTER_OK;
}

muster_code muster_cuda_event_destroy(muster_cuda_event event) {
  MUSTER_CUDA_TRY(cudaEventDestroy(event));
  return MUSTER_OK;
}

muster_code muster_cuda_event_record(muster_cuda_event event, muster_cuda_stream stream) {
  MUSTER_CUDA_TRY(cudaEventRecord(event, stream));
  return MUSTER_OK;
}

muster_code muster_cuda_stream_wait_event(muster_cuda_stream stream, muster_cuda_event event) {
  MUSTER_CUDA_TRY(cudaStreamWaitEvent(stream, event, 0));
  return MUSTER_OK;
}

muster_code muster_cuda_event_wait(muster_cuda_event event, uint32_t timeout_ms) {
  return waitFor([&] { return cudaEventQuery(event); }, timeout_ms, "an event");
}

muster_code muster_cuda_event_elapsed(muster_cuda_event start, muster_cuda_event end, float* elapsed_ms) {
  MUSTER_CUDA_TRY(cudaEventElapsedTime(elapsed_ms, start, end));
  return MUSTER_OK;
}
