/** What the C ABI asks of tensors before a kernel touches them. */
#pragma once

#include <cstdint>
#include <vector>

#include "muster/tensor.h"

namespace muster::kernels {

/** Formats as bits of a set. */
using FormatSet = std::uint32_t;
constexpr FormatSet setOf(muster_format format) { return 1u << format; }
inline constexpr FormatSet kAnyFormat = (1u << MUSTER_FORMAT_COUNT) - 1;
/** Those that gradients and activations come in. */
inline constexpr FormatSet kTrainingFormats = setOf(MUSTER_FORMAT_F32) | setOf(MUSTER_FORMAT_F16) | setOf(MUSTER_FORMAT_BF16);

const char* formatName(muster_format format);
std::uint64_t formatBytes(muster_format format);

/**
 * The tensors of one call: each is checked as it is added, then all against each other. The first thing that is wrong is the answer of
 * `code()`, and recorded as the thread's last failure.
 */
class TensorCheck {
 public:
  /** For calls that list tensors: the position that is named with those that follow. */
  void at(std::uint64_t index) { index_ = index; }

  void reads(const muster_tensor& tensor, const char* name, FormatSet formats) { add(tensor, name, formats, false); }
  void writes(const muster_tensor& tensor, const char* name, FormatSet formats) { add(tensor, name, formats, true); }

  /** A result, which may be the very memory of the `input` of its format and size. */
  void writesOver(const muster_tensor& tensor, const char* name, const muster_tensor& input, FormatSet formats);

  /** `tensor` must have as many elements as `wanted`, of which `source` says what they are. */
  void hasElements(const muster_tensor& tensor, const char* name, std::uint64_t wanted, const char* source);

  /** `tensor` must have `wanted`'s format. */
  void hasFormat(const muster_tensor& tensor, const char* name, muster_format wanted);

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

  void add(const muster_tensor& tensor, const char* name, FormatSet formats, bool isWritten);

  std::vector<Extent> extents_;
  std::uint64_t index_ = 0;
  muster_code code_ = MUSTER_OK;
};

/** Of a call's `threads`. */
muster_code checkThreads(std::uint32_t threads);

}  // namespace muster::kernels
