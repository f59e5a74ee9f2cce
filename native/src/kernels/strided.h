/**
 * How tensors with strides are gone through: in tiles, each gathered into a row of f32 (or of 64-bit integers) that fits the first cache, computed on by
 * code that knows of rows only, and put back. Where elements lie in a row of f32 already, nothing is copied.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "dtype.h"
#include "muster/strided.h"

namespace muster::kernels {

/** Four tiles of f32 are 16 KB: half of a first cache. */
inline constexpr std::size_t kTileElements = 1024;

/** A shape, of which dimensions of size 1 and those that can be gone through as one were taken out. */
struct Space {
  std::uint32_t rank = 0;
  std::uint64_t shape[MUSTER_RANK_MAX];
  std::uint64_t elements = 1;
};

/** A tensor in such a shape. */
struct Operand {
  /** Of its first element. */
  std::byte* data;
  muster_dtype dtype;
  std::uint64_t strides[MUSTER_RANK_MAX];
};

bool isFloating(muster_dtype dtype);

/** That a tensor is of one of the dtypes, and lies within its memory. `shape` has `rank` dimensions. */
muster_code checkStrided(const muster_strided& tensor, const char* name, std::uint32_t rank, const std::uint64_t* shape);
/** That no two elements are one: of tensors that are written. */
muster_code checkApart(const muster_strided& tensor, const char* name, std::uint32_t rank, const std::uint64_t* shape);
muster_code checkRank(std::uint32_t rank);

/** Takes dimensions [first, end) of a call, together for all its tensors. `operands` are filled from `tensors`. */
struct Tensors {
  const muster_strided* tensor;
  Operand* operand;
};
Space collapse(const std::uint64_t* shape, std::uint32_t first, std::uint32_t end, std::initializer_list<Tensors> tensors);

/** How far from its first element the operand's element at a position of the space lies, in elements. */
std::uint64_t offsetAt(const Space& space, const Operand& operand, std::uint64_t position);

/** Elements [position, position + count) as f32. @returns `buffer`, or the operand's own memory where they lie so already. */
const float* loadFloats(const Space& space, const Operand& operand, std::uint64_t position, std::size_t count, float* buffer);
void loadIntegers(const Space& space, const Operand& operand, std::uint64_t position, std::size_t count, std::int64_t* buffer);

/** Where f32 results may be written directly; null: `storeFloats` has to put them there. */
float* floatsInPlace(const Space& space, const Operand& operand, std::uint64_t position);
void storeFloats(const Space& space, const Operand& operand, std::uint64_t position, std::size_t count, const float* values);
void storeIntegers(const Space& space, const Operand& operand, std::uint64_t position, std::size_t count, const std::int64_t* values);

}  // namespace muster::kernels
