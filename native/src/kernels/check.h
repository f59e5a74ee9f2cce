/** What the C ABI asks of tensors before a kernel touches them. */
#pragma once

#include <cstdint>
#include <vector>

#include "dtype.h"
#include "muster/tensor.h"

namespace muster::kernels {

/** Dtypes as bits of a set. */
using DtypeSet = std::uint32_t;
constexpr DtypeSet setOf(muster_dtype dtype) { return 1u << dtype; }
inline constexpr DtypeSet kKernelDtypes = (1u << kKernelDtypeCount) - 1;
/** Those that gradients and activations come in. */
inline constexpr DtypeSet kTrainingDtypes = setOf(MUSTER_F32) | setOf(MUSTER_F16) | setOf(MUSTER_BF16);

/**
 * The tensors of one call: each is checked as it is added, then all against each other. The first thing that is wrong is the answer of
 * `code()`, and recorded as the thread's last failure.
 */
class TensorCheck {
 public:
  /** For calls that list tensors: the position that is named with those that follow. */
  void at(std::uint64_t index) { index_ = index; }

  void reads(const muster_tensor& tensor, const char* name, DtypeSet dtypes) { add(tensor, name, dtypes, false); }
  void writes(const muster_tensor& tensor, const char* name, DtypeSet dtypes) { add(tensor, name, dtypes, true); }

  /** A result, which may be the very memory of the `input` of its dtype and size. */
  void writesOver(const muster_tensor& tensor, const char* name, const muster_tensor& input, DtypeSet dtypes);

  /** `tensor` must have as many elements as `wanted`, of which `source` says what they are. */
  void hasElements(const muster_tensor& tensor, const char* name, std::uint64_t wanted, const char* source);

  /** `tensor` must have `wanted`'s dtype. */
  void hasDtype(const muster_tensor& tensor, const char* name, muster_dtype wanted);

  /** That no tensor which is written overlaps another. */
  muster_code code();

 private:
  struct Extent {
    std::uintptr_t begin;
    std::uintptr_t end;
    const char* name;
    std::uint64_t index;
    bool isWritten;
  };

  void removeReadsOf(const muster_tensor& tensor);

  void add(const muster_tensor& tensor, const char* name, DtypeSet dtypes, bool isWritten);

  std::vector<Extent> extents_;
  std::uint64_t index_ = 0;
  muster_code code_ = MUSTER_OK;
};

/** Of a call's `threads`. */
muster_code checkThreads(std::uint32_t threads);

}  // namespace muster::kernels
