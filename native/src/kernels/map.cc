#include "kernels/map.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/pieces.h"
#include "kernels/strided.h"
#include "kernels/table.h"
#include "status.h"

namespace muster::kernels {
namespace {

unsigned inputsOf(muster_map_operation operation) {
  if (operation >= MUSTER_MAP_WHERE) return 3;
  return operation >= MUSTER_MAP_ADD ? 2 : 1;
}

muster_code checkCall(const muster_map_call& call) {
  if (static_cast<std::uint32_t>(call.operation) >= MUSTER_MAP_OPERATIONS) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there is no map %d", static_cast<int>(call.operation));
  if (const muster_code code = checkRank(call.rank); code != MUSTER_OK) return code;
  constexpr const char* names[] = {"the first input", "the second input", "the third input"};
  for (unsigned index = 0; index < inputsOf(call.operation); index++) {
    if (const muster_code code = checkStrided(call.inputs[index], names[index], call.rank, call.shape); code != MUSTER_OK) return code;
  }
  if (const muster_code code = checkStrided(call.result, "the result", call.rank, call.shape); code != MUSTER_OK) return code;
  return checkApart(call.result, "the result", call.rank, call.shape);
}

/** A call, ready to be gone through. */
struct Map {
  muster_map_operation operation;
  unsigned inputs;
  Space space;
  Operand operands[3];
  Operand result;
};

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

/** Of integers, what wraps around does so. @returns false where integers have no such operation */
bool integerOf(muster_map_operation operation, std::int64_t f, std::int64_t s, std::int64_t t, std::int64_t& result) {
  const auto wrap = [](std::uint64_t bits) { return static_cast<std::int64_t>(bits); };
  const auto u = static_cast<std::uint64_t>(f), v = static_cast<std::uint64_t>(s);
  switch (operation) {
    case MUSTER_MAP_COPY: result = f; return true;
    case MUSTER_MAP_NEGATE: result = wrap(0 - u); return true;
    case MUSTER_MAP_ABSOLUTE: result = f < 0 ? wrap(0 - u) : f; return true;
    case MUSTER_MAP_ADD: result = wrap(u + v); return true;
    case MUSTER_MAP_SUBTRACT: result = wrap(u - v); return true;
    case MUSTER_MAP_MULTIPLY: result = wrap(u * v); return true;
    case MUSTER_MAP_MAXIMUM: result = std::max(f, s); return true;
    case MUSTER_MAP_MINIMUM: result = std::min(f, s); return true;
    case MUSTER_MAP_EQUAL: result = f == s; return true;
    case MUSTER_MAP_NOT_EQUAL: result = f != s; return true;
    case MUSTER_MAP_LESS: result = f < s; return true;
    case MUSTER_MAP_LESS_EQUAL: result = f <= s; return true;
    case MUSTER_MAP_WHERE: result = f != 0 ? s : t; return true;
    case MUSTER_MAP_MULTIPLY_ADD: result = wrap(u * v + static_cast<std::uint64_t>(t)); return true;
    default: return false;
  }
}

void mapIntegers(const Map& map, std::uint64_t position, std::size_t count) {
  std::int64_t buffers[3][kTileElements];
  std::int64_t results[kTileElements];
  for (unsigned index = 0; index < map.inputs; index++) loadIntegers(map.space, map.operands[index], position, count, buffers[index]);
  for (std::size_t index = 0; index < count; index++) {
    integerOf(map.operation, buffers[0][index], map.inputs > 1 ? buffers[1][index] : 0, map.inputs > 2 ? buffers[2][index] : 0, results[index]);
  }
  storeIntegers(map.space, map.result, position, count, results);
}

}  // namespace
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_map(const muster_map_call* call, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkCall(*call); code != MUSTER_OK) return code;
  Map map{call->operation, inputsOf(call->operation), {}, {}, {}};
  switch (map.inputs) {
    case 1: map.space = collapse(call->shape, 0, call->rank, {{&call->inputs[0], &map.operands[0]}, {&call->result, &map.result}}); break;
    case 2: map.space = collapse(call->shape, 0, call->rank, {{&call->inputs[0], &map.operands[0]}, {&call->inputs[1], &map.operands[1]}, {&call->result, &map.result}}); break;
    default:
      map.space = collapse(call->shape, 0, call->rank,
                           {{&call->inputs[0], &map.operands[0]}, {&call->inputs[1], &map.operands[1]}, {&call->inputs[2], &map.operands[2]}, {&call->result, &map.result}});
  }
  bool floats = isFloating(map.result.dtype);
  for (unsigned index = 0; index < map.inputs; index++) floats = floats || isFloating(map.operands[index].dtype);
  std::int64_t unused;
  if (!floats && !integerOf(map.operation, 0, 0, 0, unused)) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "integers have no map %d", static_cast<int>(map.operation));
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
