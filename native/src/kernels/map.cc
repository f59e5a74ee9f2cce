#include "kernels/map.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/pieces.h"
#include "kernels/strided.h"
#include "kernels/table.h"
#include "status.h"

namespace muster::kernels {
namespace {

void mapFloats(const Map& map, std::uint64_t position, std::size_t count) {
  float buffers[4][kTileElements];
  MapTile tile{nullptr, nullptr, nullptr, buffers[3], count};
  const float** const inputs[] = {&tile.first, &tile.second, &tile.third};
  for (unsigned index = 0; index < map.inputs; index++) *inputs[index] = loadFloats(map.space, map.operands[index], position, count, buffers[index]);
  float* const place = floatsInPlace(map.space, map.result, position);
  if (map.operation == MUSTER_MAP_COPY && place == nullptr) return storeFloats(map.space, map.result, position, count, tile.first);
  if (place != nullptr) tile.result = place;
  table().map(map.operation, tile);
  if (place == nullptr) storeFloats(map.space, map.result, position, count, tile.result);
}

void mapIntegers(const Map& map, std::uint64_t position, std::size_t count) {
  std::int64_t buffers[3][kTileElements];
  std::int64_t results[kTileElements];
  for (unsigned index = 0; index < map.inputs; index++) loadIntegers(map.space, map.operands[index], position, count, buffers[index]);
  for (std::size_t index = 0; index < count; index++) {
    reference::mapInteger(map.operation, buffers[0][index], map.inputs > 1 ? buffers[1][index] : 0, map.inputs > 2 ? buffers[2][index] : 0, results[index]);
  }
  storeIntegers(map.space, map.result, position, count, results);
}

}  // namespace
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_map(const muster_map_call* call, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkMap(*call); code != MUSTER_OK) return code;
  const Map map = mapOf(*call);
  const bool floats = mapsFloats(*call);
  const auto pieces = piecesOf(1, [&](std::size_t) { return map.space.elements; });
  parallelFor(threadCount(threads), pieces.size(), [&](std::size_t item) {
    const std::uint64_t end = pieces[item].offset + pieces[item].elements;
    for (std::uint64_t position = pieces[item].offset; position < end; position += kTileElements) {
      const std::size_t count = std::min<std::uint64_t>(kTileElements, end - position);
      if (floats) {
        mapFloats(map, position, count);
      } else {
        mapIntegers(map, position, count);
      }
    }
  });
  return MUSTER_OK;
}
