/** Reducing the same elements of several ranks into one. */
#pragma once

#include <cstddef>
#include <cstdint>

#include "muster/collective.h"

namespace muster {

/**
 * target[i] = sources[0][i] op sources[1][i] op ..., from left to right, for `count` elements. `target` may be one of the sources,
 * and overlaps none otherwise. Pointers need no more than the element's alignment.
 */
using ReduceKernel = void (*)(const void* const* sources, std::uint32_t sourceCount, void* target, std::size_t count);

/** Kernels by dtype and reduction. */
struct ReduceTable {
  const char* name;
  ReduceKernel kernels[MUSTER_DTYPE_COUNT][MUSTER_REDUCTION_COUNT];
};

/** The fastest table that this processor runs. */
const ReduceTable& reduceTable();

/** Every table that this processor runs, the slowest first. @returns how many there are, at most kReduceTablesMax */
constexpr std::size_t kReduceTablesMax = 3;
std::size_t reduceTables(const ReduceTable* (&tables)[kReduceTablesMax]);

/** What all tables must equal to the bit: one element at a time, in the plainest words. */
void reduceReference(muster_dtype dtype, muster_reduction reduction, const void* const* sources, std::uint32_t sourceCount, void* target,
                     std::size_t count);

}  // namespace muster
