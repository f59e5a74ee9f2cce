/** Elements of strided tensors on a GPU: where they lie, and what they are in f32 or in 64-bit integers. */
#pragma once

#include "formats.cuh"
#include "kernels/strided-calls.h"

namespace muster::cuda {

using kernels::Operand;
using kernels::Space;

__device__ __forceinline__ std::uint64_t threadOfGrid() { return std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ __forceinline__ std::uint64_t threadsOfGrid() { return std::uint64_t{gridDim.x} * blockDim.x; }

/** As kernels::offsetAt. `Count` is 32 bits where the space is so small: divisions of 64 bits take several times as long. */
template <class Count>
__device__ __forceinline__ std::uint64_t offsetOf(const Space& space, const std::uint64_t* strides, Count position) {
  std::uint64_t offset = 0;
  for (unsigned dimension = space.rank; dimension-- > 1;) {
    const auto extent = static_cast<Count>(space.shape[dimension]);
    offset += position % extent * strides[dimension];
    position /= extent;
  }
  return space.rank == 0 ? 0 : offset + position * strides[0];
}

template <class Element>
__device__ __forceinline__ Element elementAt(const void* data, std::uint64_t index) {
  return static_cast<const Element*>(data)[index];
}

__device__ __forceinline__ float loadNumber(muster_dtype dtype, const void* data, std::uint64_t index) {
  switch (dtype) {
    case MUSTER_F32: return elementAt<float>(data, index);
    case MUSTER_F16: return widen<F16>(elementAt<std::uint16_t>(data, index));
    case MUSTER_BF16: return widen<Bf16>(elementAt<std::uint16_t>(data, index));
    case MUSTER_I64: return static_cast<float>(elementAt<std::int64_t>(data, index));
    case MUSTER_I32: return static_cast<float>(elementAt<std::int32_t>(data, index));
    default: return elementAt<std::uint8_t>(data, index);
  }
}

__device__ __forceinline__ std::int64_t loadInteger(muster_dtype dtype, const void* data, std::uint64_t index) {
  switch (dtype) {
    case MUSTER_I64: return elementAt<std::int64_t>(data, index);
    case MUSTER_I32: return elementAt<std::int32_t>(data, index);
    default: return elementAt<std::uint8_t>(data, index);
  }
}

/** What an f32 is as an integer: cut off, the nearest there is, 0 for NaN. */
template <class Integer>
__device__ __forceinline__ Integer toInteger(float value) {
  constexpr Integer least = Integer{1} << (sizeof(Integer) * 8 - 1);
  constexpr Integer most = ~least;
  constexpr float bound = sizeof(Integer) == 8 ? 9223372036854775808.0f : 2147483648.0f;
  if (value >= bound) return most;
  if (value < -bound) return least;
  return value != value ? 0 : static_cast<Integer>(value);
}

__device__ __forceinline__ void storeNumber(muster_dtype dtype, void* data, std::uint64_t index, float value) {
  switch (dtype) {
    case MUSTER_F32: static_cast<float*>(data)[index] = value; break;
    case MUSTER_F16: static_cast<std::uint16_t*>(data)[index] = narrow<F16>(value); break;
    case MUSTER_BF16: static_cast<std::uint16_t*>(data)[index] = narrow<Bf16>(value); break;
    case MUSTER_I64: static_cast<std::int64_t*>(data)[index] = toInteger<std::int64_t>(value); break;
    case MUSTER_I32: static_cast<std::int32_t*>(data)[index] = toInteger<std::int32_t>(value); break;
    default: static_cast<std::uint8_t*>(data)[index] = value != 0;
  }
}

__device__ __forceinline__ void storeInteger(muster_dtype dtype, void* data, std::uint64_t index, std::int64_t value) {
  switch (dtype) {
    case MUSTER_I64: static_cast<std::int64_t*>(data)[index] = value; break;
    case MUSTER_I32: static_cast<std::int32_t*>(data)[index] = static_cast<std::int32_t>(value); break;
    default: static_cast<std::uint8_t*>(data)[index] = value != 0;
  }
}

/** Calls `visit` with the type that counts the elements of a space. */
template <class Visitor>
decltype(auto) withCount(std::uint64_t elements, Visitor&& visit) {
  if (elements < std::uint64_t{1} << 32) return visit(std::uint32_t{});
  return visit(std::uint64_t{});
}

}  // namespace muster::cuda
