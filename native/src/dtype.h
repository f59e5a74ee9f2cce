/** Names and sizes of the element types. */
#pragma once

#include <cstddef>
#include <cstdint>

#include "muster/dtype.h"

namespace muster {

/** What kernels compute on: f32 and what is converted to it, from the first on. */
inline constexpr std::uint32_t kKernelDtypeCount = 5;

constexpr bool isDtype(muster_dtype dtype) { return static_cast<std::uint32_t>(dtype) < MUSTER_DTYPE_COUNT; }

constexpr const char* dtypeName(muster_dtype dtype) {
  constexpr const char* kNames[MUSTER_DTYPE_COUNT] = {"f32", "f16", "bf16", "f8e4m3", "f8e5m2", "f64", "i64", "i32", "u8"};
  return isDtype(dtype) ? kNames[dtype] : "an unknown dtype";
}

constexpr std::size_t elementBytes(muster_dtype dtype) {
  constexpr std::size_t kBytes[MUSTER_DTYPE_COUNT] = {4, 2, 2, 1, 1, 8, 8, 4, 1};
  return kBytes[dtype];
}

}  // namespace muster
