/**
 * Arithmetic on tiles of f32, in plain scalar code: what muster/strided.h calls a map, once its inputs lie in a row.
 *
 * A tile (strided.h) is in the first cache, so memory sees each input and the result once. Where a vector has no instruction for it (powers) the
 * compiler calls the C library number by number.
 */
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/device.h"
#include "muster/strided.h"

namespace muster::kernels {

/** The inputs that an operation does not have are null. The result may be one of them. */
struct MapTile {
  const float* first;
  const float* second;
  const float* third;
  float* result;
  std::size_t elements;
};

namespace reference {

MUSTER_ON_EVERY_DEVICE inline float mapOne(muster_map_operation operation, float f, float s, float t) {
  switch (operation) {
    case MUSTER_MAP_COPY: return f;
    case MUSTER_MAP_NEGATE: return -f;
    case MUSTER_MAP_ABSOLUTE: return std::fabs(f);
    case MUSTER_MAP_EXPONENTIAL: return std::exp(f);
    case MUSTER_MAP_LOGARITHM: return std::log(f);
    case MUSTER_MAP_SQUARE_ROOT: return std::sqrt(f);
    case MUSTER_MAP_TANH: return std::tanh(f);
    case MUSTER_MAP_SIGMOID: return 1 / (1 + std::exp(-f));
    case MUSTER_MAP_ADD: return f + s;
    case MUSTER_MAP_SUBTRACT: return f - s;
    case MUSTER_MAP_MULTIPLY: return f * s;
    case MUSTER_MAP_DIVIDE: return f / s;
    case MUSTER_MAP_POWER: return std::pow(f, s);
    case MUSTER_MAP_MAXIMUM: return f >= s || f != f ? f : s;
    case MUSTER_MAP_MINIMUM: return f <= s || f != f ? f : s;
    case MUSTER_MAP_EQUAL: return f == s;
    case MUSTER_MAP_NOT_EQUAL: return f != s;
    case MUSTER_MAP_LESS: return f < s;
    case MUSTER_MAP_LESS_EQUAL: return f <= s;
    case MUSTER_MAP_TANH_BACKWARD: return s * (1 - f * f);
    case MUSTER_MAP_SIGMOID_BACKWARD: return s * f * (1 - f);
    case MUSTER_MAP_WHERE: return f != 0 ? s : t;
    case MUSTER_MAP_MULTIPLY_ADD: return f * s + t;
  }
  return f;
}

/** Of integers, what wraps around does so. @returns false where integers have no such operation */
MUSTER_ON_EVERY_DEVICE inline bool mapInteger(muster_map_operation operation, std::int64_t f, std::int64_t s, std::int64_t t, std::int64_t& result) {
  const auto u = static_cast<std::uint64_t>(f), v = static_cast<std::uint64_t>(s);
  switch (operation) {
    case MUSTER_MAP_COPY: result = f; return true;
    case MUSTER_MAP_NEGATE: result = static_cast<std::int64_t>(0 - u); return true;
    case MUSTER_MAP_ABSOLUTE: result = f < 0 ? static_cast<std::int64_t>(0 - u) : f; return true;
    case MUSTER_MAP_ADD: result = static_cast<std::int64_t>(u + v); return true;
    case MUSTER_MAP_SUBTRACT: result = static_cast<std::int64_t>(u - v); return true;
    case MUSTER_MAP_MULTIPLY: result = static_cast<std::int64_t>(u * v); return true;
    case MUSTER_MAP_MAXIMUM: result = f > s ? f : s; return true;
    case MUSTER_MAP_MINIMUM: result = f < s ? f : s; return true;
    case MUSTER_MAP_EQUAL: result = f == s; return true;
    case MUSTER_MAP_NOT_EQUAL: result = f != s; return true;
    case MUSTER_MAP_LESS: result = f < s; return true;
    case MUSTER_MAP_LESS_EQUAL: result = f <= s; return true;
    case MUSTER_MAP_WHERE: result = f != 0 ? s : t; return true;
    case MUSTER_MAP_MULTIPLY_ADD: result = static_cast<std::int64_t>(u * v + static_cast<std::uint64_t>(t)); return true;
    default: return false;
  }
}

inline void map(muster_map_operation operation, const MapTile& tile) {
  for (std::size_t index = 0; index < tile.elements; index++) {
    tile.result[index] = mapOne(operation, tile.first[index], tile.second == nullptr ? 0 : tile.second[index], tile.third == nullptr ? 0 : tile.third[index]);
  }
}

}  // namespace reference
}  // namespace muster::kernels
