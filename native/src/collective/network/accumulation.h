/**
 * How partial results look on their way between nodes: floats of 16 and 8 bits are summed in f32 and integers averaged in 64 bits, so that a result is
 * rounded once, wherever its parts were added. What is exact in its own type stays in it.
 */
#pragma once

#include <cstddef>

#include "collective/reduce.h"
#include "dtype.h"

namespace muster {

/** The type in which results of this dtype and reduction are accumulated. */
muster_dtype accumulatorOf(muster_dtype dtype, muster_reduction reduction);

class Accumulation {
 public:
  /** `source`: what the parts are in, the dtype itself or its accumulator. `ranks`: how many parts an average has. */
  Accumulation(muster_dtype source, muster_dtype dtype, muster_reduction reduction, std::uint32_t ranks);

  std::size_t sourceBytes() const { return elementBytes(source_); }
  /** Of an accumulator's element. */
  std::size_t bytes() const { return elementBytes(accumulator_); }
  std::size_t resultBytes() const { return elementBytes(dtype_); }
  /** Whether parts can be sent as they are. */
  bool isSourceAccumulator() const { return source_ == accumulator_; }
  /** How parts are put together on the way: an average is a sum until its end. */
  muster_reduction partial() const { return partial_; }
  muster_dtype accumulator() const { return accumulator_; }

  void load(void* accumulators, const void* source, std::size_t count) const;
  /** target = left op right, of which it may be either. */
  void combine(const void* left, const void* right, void* target, std::size_t count) const;
  /** accumulators = accumulators op source. */
  void add(void* accumulators, const void* source, std::size_t count) const;
  /** The result of complete accumulators. The two are the same memory, where their types are, or do not overlap. */
  void finish(void* result, const void* accumulators, std::size_t count) const;

 private:
  const muster_dtype source_;
  const muster_dtype dtype_;
  const muster_dtype accumulator_;
  const muster_reduction reduction_;
  const muster_reduction partial_;
  const std::uint32_t ranks_;
};

}  // namespace muster
