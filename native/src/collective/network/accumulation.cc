#include "collective/network/accumulation.h"

#include <algorithm>
#include <cstring>

#include "muster/convert.h"

namespace muster {
namespace {

/** What is widened at once: it stays in the first-level cache until it is added. */
constexpr std::size_t kTileElements = 2048;

/** A float of 16 or 8 bits. */
bool isSmall(muster_dtype dtype) { return dtype != MUSTER_F32 && static_cast<std::uint32_t>(dtype) < kKernelDtypeCount; }

/** Of which one is f32. */
void convert(muster_dtype sourceDtype, const void* source, muster_dtype targetDtype, void* target, std::size_t count) {
  const muster_tensor from{const_cast<void*>(source), count, sourceDtype};
  const muster_tensor to{target, count, targetDtype};
  muster_convert(&from, &to, 1);
}

template <class From, class To>
void convertIntegers(const void* source, void* target, std::size_t count) {
  for (std::size_t i = 0; i < count; i++) static_cast<To*>(target)[i] = static_cast<To>(static_cast<const From*>(source)[i]);
}

template <class Number>
void divide(void* target, const void* source, std::size_t count, Number by) {
  for (std::size_t i = 0; i < count; i++) static_cast<Number*>(target)[i] = static_cast<const Number*>(source)[i] / by;
}

}  // namespace

muster_dtype accumulatorOf(muster_dtype dtype, muster_reduction reduction) {
  const bool isExtremum = reduction == MUSTER_MIN || reduction == MUSTER_MAX;
  if (isSmall(dtype) && !isExtremum) return MUSTER_F32;
  if ((dtype == MUSTER_I32 || dtype == MUSTER_U8) && reduction == MUSTER_AVERAGE) return MUSTER_I64;
  return dtype;
}

Accumulation::Accumulation(muster_dtype source, muster_dtype dtype, muster_reduction reduction, std::uint32_t ranks)
    : source_(source),
      dtype_(dtype),
      accumulator_(accumulatorOf(dtype, reduction)),
      reduction_(reduction),
      partial_(reduction == MUSTER_AVERAGE ? MUSTER_SUM : reduction),
      ranks_(ranks) {}

void Accumulation::load(void* accumulators, const void* source, std::size_t count) const {
  if (isSourceAccumulator()) {
    if (accumulators != source) std::memcpy(accumulators, source, count * bytes());
  } else if (isSmall(source_)) {
    convert(source_, source, MUSTER_F32, accumulators, count);
  } else if (source_ == MUSTER_I32) {
    convertIntegers<std::int32_t, std::int64_t>(source, accumulators, count);
  } else {
    convertIntegers<std::uint8_t, std::int64_t>(source, accumulators, count);
  }
}

void Accumulation::combine(const void* left, const void* right, void* target, std::size_t count) const {
  const void* const both[] = {left, right};
  reduceTable().kernels[accumulator_][partial_](both, 2, target, count);
}

void Accumulation::add(void* accumulators, const void* source, std::size_t count) const {
  if (isSourceAccumulator()) return combine(accumulators, source, accumulators, count);
  alignas(64) std::byte tile[kTileElements * sizeof(std::int64_t)];
  for (std::size_t done = 0; done < count; done += kTileElements) {
    const std::size_t step = std::min(kTileElements, count - done);
    std::byte* at = static_cast<std::byte*>(accumulators) + done * bytes();
    load(tile, static_cast<const std::byte*>(source) + done * sourceBytes(), step);
    combine(at, tile, at, step);
  }
}

void Accumulation::finish(void* result, const void* accumulators, std::size_t count) const {
  if (reduction_ != MUSTER_AVERAGE && accumulator_ == dtype_) {
    if (result != accumulators) std::memcpy(result, accumulators, count * bytes());
    return;
  }
  alignas(64) std::byte tile[kTileElements * sizeof(std::int64_t)];
  for (std::size_t done = 0; done < count; done += kTileElements) {
    const std::size_t step = std::min(kTileElements, count - done);
    const std::byte* from = static_cast<const std::byte*>(accumulators) + done * bytes();
    std::byte* to = static_cast<std::byte*>(result) + done * resultBytes();
    void* divided = accumulator_ == dtype_ ? to : tile;
    if (reduction_ == MUSTER_AVERAGE) {
      if (accumulator_ == MUSTER_F32) divide<float>(divided, from, step, static_cast<float>(ranks_));
      if (accumulator_ == MUSTER_F64) divide<double>(divided, from, step, static_cast<double>(ranks_));
      if (accumulator_ == MUSTER_I64) divide<std::int64_t>(divided, from, step, ranks_);
      from = static_cast<const std::byte*>(divided);
    }
    if (isSmall(dtype_)) convert(accumulator_, from, dtype_, to, step);
    if (dtype_ == MUSTER_I32 && accumulator_ == MUSTER_I64) convertIntegers<std::int64_t, std::int32_t>(from, to, step);
    if (dtype_ == MUSTER_U8 && accumulator_ == MUSTER_I64) convertIntegers<std::int64_t, std::uint8_t>(from, to, step);
  }
}

}  // namespace muster
