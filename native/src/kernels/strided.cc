#include "kernels/strided.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/table.h"

namespace muster::kernels {
namespace {

bool isDense(const Space& space, const Operand& operand) { return space.rank == 0 || (space.rank == 1 && operand.strides[0] == 1); }

/** Calls `run(offset, at, count, stride)` for each piece of a last dimension among the elements: `at` counts from the first of them. */
template <class Run>
void forEachRun(const Space& space, const Operand& operand, std::uint64_t position, std::size_t count, Run run) {
  if (space.rank == 0) return run(std::uint64_t{0}, std::size_t{0}, count, std::uint64_t{1});
  const std::uint32_t last = space.rank - 1;
  std::uint64_t index[MUSTER_RANK_MAX];
  std::uint64_t offset = 0;
  for (std::uint32_t dimension = space.rank; dimension-- > 0;) {
    index[dimension] = position % space.shape[dimension];
    position /= space.shape[dimension];
    offset += index[dimension] * operand.strides[dimension];
  }
  for (std::size_t at = 0; at < count;) {
    const std::size_t length = std::min<std::uint64_t>(space.shape[last] - index[last], count - at);
    run(offset, at, length, operand.strides[last]);
    at += length;
    offset += length * operand.strides[last];
    index[last] += length;
    for (std::uint32_t dimension = last; dimension > 0 && index[dimension] == space.shape[dimension]; dimension--) {
      offset += operand.strides[dimension - 1] - index[dimension] * operand.strides[dimension];
      index[dimension] = 0;
      index[dimension - 1]++;
    }
  }
}

template <class Element>
void gather(const Space& space, const Operand& operand, std::uint64_t position, std::size_t count, Element* to) {
  const auto* from = reinterpret_cast<const Element*>(operand.data);
  forEachRun(space, operand, position, count, [&](std::uint64_t offset, std::size_t at, std::size_t length, std::uint64_t stride) {
    if (stride == 1) {
      std::memcpy(to + at, from + offset, length * sizeof(Element));
    } else if (stride == 0) {
      std::fill_n(to + at, length, from[offset]);
    } else {
      for (std::size_t step = 0; step < length; step++) to[at + step] = from[offset + step * stride];
    }
  });
}

template <class Element>
void scatter(const Space& space, const Operand& operand, std::uint64_t position, std::size_t count, const Element* from) {
  auto* to = reinterpret_cast<Element*>(operand.data);
  forEachRun(space, operand, position, count, [&](std::uint64_t offset, std::size_t at, std::size_t length, std::uint64_t stride) {
    if (stride == 1) {
      std::memcpy(to + offset, from + at, length * sizeof(Element));
    } else {
      for (std::size_t step = 0; step < length; step++) to[offset + step * stride] = from[at + step];
    }
  });
}

/** The elements in a row: where they lie, or gathered into `buffer`. */
template <class Element>
const Element* rowOf(const Space& space, const Operand& operand, std::uint64_t position, std::size_t count, Element* buffer) {
  if (isDense(space, operand)) return reinterpret_cast<const Element*>(operand.data) + position;
  gather(space, operand, position, count, buffer);
  return buffer;
}

template <class Element, class To>
void convertRow(const Space& space, const Operand& operand, std::uint64_t position, std::size_t count, To* to) {
  Element buffer[kTileElements];
  const Element* row = rowOf(space, operand, position, count, buffer);
  for (std::size_t index = 0; index < count; index++) to[index] = static_cast<To>(row[index]);
}

/** What an f32 is as an integer: cut off, the nearest there is, 0 for NaN. */
template <class Integer>
Integer toInteger(float value) {
  constexpr auto most = static_cast<float>(std::numeric_limits<Integer>::max());  // rounded up: too large already
  if (value >= most) return std::numeric_limits<Integer>::max();
  if (value < -most) return std::numeric_limits<Integer>::min();
  return value != value ? 0 : static_cast<Integer>(value);
}

/** Computes each element into a row, and puts the row where it belongs. */
template <class Element, class Source, class Convert>
void storeConverted(const Space& space, const Operand& operand, std::uint64_t position, std::size_t count, const Source* values, Convert convert) {
  Element row[kTileElements];
  for (std::size_t index = 0; index < count; index++) row[index] = convert(values[index]);
  scatter(space, operand, position, count, row);
}

}  // namespace

std::uint64_t offsetAt(const Space& space, const Operand& operand, std::uint64_t position) {
  std::uint64_t offset = 0;
  for (std::uint32_t dimension = space.rank; dimension-- > 0;) {
    offset += position % space.shape[dimension] * operand.strides[dimension];
    position /= space.shape[dimension];
  }
  return offset;
}

const float* loadFloats(const Space& space, const Operand& operand, std::uint64_t position, std::size_t count, float* buffer) {
  switch (operand.dtype) {
    case MUSTER_F32: return rowOf(space, operand, position, count, buffer);
    case MUSTER_F16:
    case MUSTER_BF16: {
      std::uint16_t halves[kTileElements];
      const std::uint16_t* row = rowOf(space, operand, position, count, halves);
      table().convert[operand.dtype][MUSTER_F32](row, buffer, count, false);
      return buffer;
    }
    case MUSTER_I64: convertRow<std::int64_t>(space, operand, position, count, buffer); break;
    case MUSTER_I32: convertRow<std::int32_t>(space, operand, position, count, buffer); break;
    default: convertRow<std::uint8_t>(space, operand, position, count, buffer);
  }
  return buffer;
}

void loadIntegers(const Space& space, const Operand& operand, std::uint64_t position, std::size_t count, std::int64_t* buffer) {
  switch (operand.dtype) {
    case MUSTER_I64: convertRow<std::int64_t>(space, operand, position, count, buffer); break;
    case MUSTER_I32: convertRow<std::int32_t>(space, operand, position, count, buffer); break;
    default: convertRow<std::uint8_t>(space, operand, position, count, buffer);
  }
}

float* floatsInPlace(const Space& space, const Operand& operand, std::uint64_t position) {
  return operand.dtype == MUSTER_F32 && isDense(space, operand) ? reinterpret_cast<float*>(operand.data) + position : nullptr;
}

void storeFloats(const Space& space, const Operand& operand, std::uint64_t position, std::size_t count, const float* values) {
  switch (operand.dtype) {
    case MUSTER_F32: return scatter(space, operand, position, count, values);
    case MUSTER_F16:
    case MUSTER_BF16: {
      std::uint16_t halves[kTileElements];
      const auto convert = table().convert[MUSTER_F32][operand.dtype];
      if (isDense(space, operand)) return convert(values, reinterpret_cast<std::uint16_t*>(operand.data) + position, count, false);
      convert(values, halves, count, false);
      return scatter(space, operand, position, count, halves);
    }
    case MUSTER_I64: return storeConverted<std::int64_t>(space, operand, position, count, values, toInteger<std::int64_t>);
    case MUSTER_I32: return storeConverted<std::int32_t>(space, operand, position, count, values, toInteger<std::int32_t>);
    default: return storeConverted<std::uint8_t>(space, operand, position, count, values, [](float value) { return static_cast<std::uint8_t>(value != 0); });
  }
}

void storeIntegers(const Space& space, const Operand& operand, std::uint64_t position, std::size_t count, const std::int64_t* values) {
  switch (operand.dtype) {
    case MUSTER_I64: return scatter(space, operand, position, count, values);
    case MUSTER_I32: return storeConverted<std::int32_t>(space, operand, position, count, values, [](std::int64_t value) { return static_cast<std::int32_t>(value); });
    default: return storeConverted<std::uint8_t>(space, operand, position, count, values, [](std::int64_t value) { return static_cast<std::uint8_t>(value != 0); });
  }
}

}  // namespace muster::kernels
