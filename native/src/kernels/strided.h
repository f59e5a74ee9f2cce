/**
 * How tensors with strides are gone through: in tiles, each gathered into a row of f32 (or of 64-bit integers) that fits the first cache, computed on by
 * code that knows of rows only, and put back. Where elements lie in a row of f32 already, nothing is copied.
 */
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/strided-calls.h"

namespace muster::kernels {

/** Four tiles of f32 are 16 KB: half of a first cache. */
inline constexpr std::size_t kTileElements = 1024;

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
