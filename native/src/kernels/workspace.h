/** Memory that kernels need beside their tensors. */
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

#include <sys/mman.h>

namespace muster::kernels {

inline std::size_t ceilDivide(std::size_t value, std::size_t divisor) { return (value + divisor - 1) / divisor; }

struct Free {
  void operator()(float* memory) const { std::free(memory); }
};
using OwnFloats = std::unique_ptr<float, Free>;

/** Memory of a thread that its calls use one after another. It grows to the largest that was asked for. */
class Workspace {
 public:
  /** Aligned to a cache line, and large ones to huge pages, of which the kernel is asked for some. @returns null when there is none. */
  float* reserve(std::size_t floats) {
    if (floats <= floats_) return memory_.get();
    memory_.reset();
    constexpr std::size_t lineBytes = 64;
    constexpr std::size_t hugeBytes = std::size_t{2} << 20;
    const std::size_t alignment = floats * sizeof(float) < hugeBytes ? lineBytes : hugeBytes;
    const std::size_t sizeBytes = ceilDivide(floats * sizeof(float), alignment) * alignment;
    memory_.reset(static_cast<float*>(std::aligned_alloc(alignment, sizeBytes)));
    floats_ = memory_ == nullptr ? 0 : sizeBytes / sizeof(float);
#ifdef MADV_HUGEPAGE
    if (floats_ != 0 && alignment == hugeBytes) ::madvise(memory_.get(), sizeBytes, MADV_HUGEPAGE);
#endif
    return memory_.get();
  }

 private:
  OwnFloats memory_;
  std::size_t floats_ = 0;
};

}  // namespace muster::kernels
