/** Starting kernels, memory for the length of a call, and how what the CUDA runtime refuses becomes a failure. */
#pragma once

#include <cstdint>

#include <cuda_runtime.h>

#include "muster/cuda.h"
#include "status.h"
#ifdef MUSTER_EMULATED
#include "fibers.h"
#endif

namespace muster::cuda {

/** Records what the runtime refused, where and in its own words. */
muster_code deviceFailure(cudaError_t error, const char* what, const char* file, int line);

#define MUSTER_CUDA_TRY(call)                                                                                          \
  do {                                                                                                                 \
    if (const cudaError_t error = (call); error != cudaSuccess) {                                                      \
      return ::muster::cuda::deviceFailure(error, #call, __FILE__, __LINE__);                                          \
    }                                                                                                                  \
  } while (false)

/** Threads of a block where nothing asks for another number: 8 warps fill a multiprocessor with 8 blocks. */
inline constexpr unsigned kBlockThreads = 256;

/** Multiprocessors of this thread's device; 1 where that cannot be found out, which the launch will say. */
unsigned multiprocessors();

/** Major * 10 + minor of the compute capability of this thread's device, 0 where that cannot be found out. */
int computeCapability();

/** Blocks for work that threads divide among themselves: enough to fill the device some times over, and none without work. */
inline unsigned blocksFor(std::uint64_t items, unsigned itemsOfBlock) {
  const std::uint64_t needed = (items + itemsOfBlock - 1) / itemsOfBlock;
  const std::uint64_t most = std::uint64_t{multiprocessors()} * 32;
  return static_cast<unsigned>(needed < most ? needed : most);
}

/** kernel<<<grid, block, sharedBytes, stream>>>(arguments...) */
template <class... Parameters, class... Arguments>
muster_code launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t sharedBytes, cudaStream_t stream, Arguments... arguments) {
#ifdef MUSTER_EMULATED
  (void)stream;
  emulator::runGrid(grid, block, sharedBytes, [&] { kernel(Parameters(arguments)...); });
#else
  if (sharedBytes > 48 * 1024) {  // what every device has without being asked
    MUSTER_CUDA_TRY(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(sharedBytes)));
  }
  const auto start = [&](Parameters... values) {
    void* addresses[] = {&values...};
    return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, block, addresses, sharedBytes, stream);
  };
  MUSTER_CUDA_TRY(start(Parameters(arguments)...));
#endif
  return MUSTER_OK;
}

/** Device memory that a call's kernels share, taken and given back in the stream's order, without waiting. */
class StreamMemory {
 public:
  explicit StreamMemory(cudaStream_t stream) : stream_(stream) {}
  StreamMemory(const StreamMemory&) = delete;
  StreamMemory& operator=(const StreamMemory&) = delete;
  ~StreamMemory() {
    if (data_ != nullptr) cudaFreeAsync(data_, stream_);
  }

  muster_code reserve(std::size_t sizeBytes);
  void* data() const { return data_; }

 private:
  cudaStream_t stream_;
  void* data_ = nullptr;
};

}  // namespace muster::cuda
