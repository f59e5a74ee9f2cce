/** The vector versions of map.h. */
#pragma once

#include "kernels/map.h"
#include "kernels/math-lanes.h"

namespace muster::kernels::lanes {
namespace {

[[gnu::always_inline]] inline Floats truth(Masks mask) { return floats(reinterpret_cast<Words>(mask) & words(splat(1))); }

template <class Apply>
[[gnu::always_inline]] inline void mapUnary(const MapTile& tile, Apply apply) {
  forEachVector(tile.elements, [&](std::size_t at, std::size_t count) { store<F32>(tile.result + at, apply(load<F32>(tile.first + at, count)), count); });
}

template <class Apply>
[[gnu::always_inline]] inline void mapBinary(const MapTile& tile, Apply apply) {
  forEachVector(tile.elements, [&](std::size_t at, std::size_t count) {
    store<F32>(tile.result + at, apply(load<F32>(tile.first + at, count), load<F32>(tile.second + at, count)), count);
  });
}

template <class Apply>
[[gnu::always_inline]] inline void mapTernary(const MapTile& tile, Apply apply) {
  forEachVector(tile.elements, [&](std::size_t at, std::size_t count) {
    store<F32>(tile.result + at, apply(load<F32>(tile.first + at, count), load<F32>(tile.second + at, count), load<F32>(tile.third + at, count)), count);
  });
}

inline void map(muster_map_operation operation, const MapTile& tile) {
  switch (operation) {
    case MUSTER_MAP_COPY: return mapUnary(tile, [](Floats f) { return f; });
    case MUSTER_MAP_NEGATE: return mapUnary(tile, [](Floats f) { return -f; });
    case MUSTER_MAP_ABSOLUTE: return mapUnary(tile, [](Floats f) { return floats(words(f) & kF32Magnitude); });
    case MUSTER_MAP_EXPONENTIAL: return mapUnary(tile, [](Floats f) { return exponential(f); });
    case MUSTER_MAP_SQUARE_ROOT: return mapUnary(tile, [](Floats f) { return squareRoot(f); });
    case MUSTER_MAP_TANH: return mapUnary(tile, [](Floats f) { return hyperbolicTangent(f); });
    case MUSTER_MAP_SIGMOID: return mapUnary(tile, [](Floats f) { return 1.0f / (1.0f + exponential(-f)); });
    case MUSTER_MAP_ADD: return mapBinary(tile, [](Floats f, Floats s) { return f + s; });
    case MUSTER_MAP_SUBTRACT: return mapBinary(tile, [](Floats f, Floats s) { return f - s; });
    case MUSTER_MAP_MULTIPLY: return mapBinary(tile, [](Floats f, Floats s) { return f * s; });
    case MUSTER_MAP_DIVIDE: return mapBinary(tile, [](Floats f, Floats s) { return f / s; });
    case MUSTER_MAP_MAXIMUM: return mapBinary(tile, [](Floats f, Floats s) { return f >= s ? f : f != f ? f : s; });
    case MUSTER_MAP_MINIMUM: return mapBinary(tile, [](Floats f, Floats s) { return f <= s ? f : f != f ? f : s; });
    case MUSTER_MAP_EQUAL: return mapBinary(tile, [](Floats f, Floats s) { return truth(f == s); });
    case MUSTER_MAP_NOT_EQUAL: return mapBinary(tile, [](Floats f, Floats s) { return truth(f != s); });
    case MUSTER_MAP_LESS: return mapBinary(tile, [](Floats f, Floats s) { return truth(f < s); });
    case MUSTER_MAP_LESS_EQUAL: return mapBinary(tile, [](Floats f, Floats s) { return truth(f <= s); });
    case MUSTER_MAP_TANH_BACKWARD: return mapBinary(tile, [](Floats f, Floats s) { return s * (1.0f - f * f); });
    case MUSTER_MAP_SIGMOID_BACKWARD: return mapBinary(tile, [](Floats f, Floats s) { return s * f * (1.0f - f); });
    case MUSTER_MAP_WHERE: return mapTernary(tile, [](Floats f, Floats s, Floats t) { return f != 0.0f ? s : t; });
    case MUSTER_MAP_MULTIPLY_ADD: return mapTernary(tile, [](Floats f, Floats s, Floats t) { return f * s + t; });
    case MUSTER_MAP_LOGARITHM:
    case MUSTER_MAP_POWER: return reference::map(operation, tile);
  }
}

}  // namespace
}  // namespace muster::kernels::lanes
