/**
 * Reductions along dimensions. Two ways of going through the input, so that memory is read in the order in which it lies: along the reduced
 * dimensions, one result after another; or, where neighbours in memory belong to neighbouring results, row by row into a tile of sums (the gradient of a
 * bias). Both cut what is reduced into chunks of fixed size whose results are added in order, so that results do not depend on the number of threads.
 */
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/check.h"
#include "kernels/pieces.h"
#include "kernels/strided.h"
#include "kernels/table.h"
#include "kernels/workspace.h"
#include "status.h"

namespace muster::kernels {
namespace {

/** Rows whose sum is made in f32 before it goes into an f64. */
constexpr std::size_t kRowsInF32 = 64;
constexpr std::size_t kChunkRows = 512;
/** Chunks of one result, at most: their sums take memory, and an input that repeats (a stride of 0) may have more elements than any memory. */
constexpr std::uint64_t kChunksMax = 1024;
/** Narrower rows are not worth going through as such. */
constexpr std::size_t kRowMinElements = 8;

/** Elements of each chunk of `elements`: so many, or as many as keep the chunks few. */
std::uint64_t chunkOf(std::uint64_t elements, std::uint64_t usual) { return std::max(usual, elements / kChunksMax + 1); }

/** What some of the numbers amount to. */
struct Partial {
  double value;
  std::uint64_t index;
};

/** A NaN goes before all. */
bool isLarger(double value, double other) { return value > other || (std::isnan(value) && !std::isnan(other)); }

Partial nothing(muster_reduce_operation operation) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  switch (operation) {
    case MUSTER_REDUCE_LARGEST:
    case MUSTER_REDUCE_ARG_LARGEST: return {-infinity, 0};
    case MUSTER_REDUCE_SMALLEST: return {infinity, 0};
    default: return {0, 0};
  }
}

/** `later` comes behind `sum` in the order of the elements. */
void join(muster_reduce_operation operation, Partial& sum, const Partial& later) {
  switch (operation) {
    case MUSTER_REDUCE_LARGEST:
    case MUSTER_REDUCE_ARG_LARGEST:
      if (isLarger(later.value, sum.value)) sum = later;
      break;
    case MUSTER_REDUCE_SMALLEST:
      if (isLarger(-later.value, -sum.value)) sum = later;
      break;
    default: sum.value += later.value;
  }
}

/** Of `count` numbers in a row, the first of which is number `first`. */
Partial reduceRow(muster_reduce_operation operation, const float* row, std::size_t count, std::uint64_t first) {
  const LayerKernels& kernels = table().layers[MUSTER_F32];
  switch (operation) {
    case MUSTER_REDUCE_SUM: return {kernels.total(row, count), 0};
    case MUSTER_REDUCE_SQUARES: return {table().sumOfSquares[MUSTER_F32](row, count), 0};
    case MUSTER_REDUCE_LARGEST: return {kernels.largest(row, count), 0};
    default: break;
  }
  Partial best{row[0], first};
  for (std::size_t index = 1; index < count; index++) join(operation, best, {row[index], first + index});
  return best;
}

void store(const Reduction& reduction, std::uint64_t position, std::size_t count, const Partial* partials) {
  if (reduction.operation == MUSTER_REDUCE_ARG_LARGEST) {
    std::int64_t indices[kTileElements];
    for (std::size_t index = 0; index < count; index++) indices[index] = static_cast<std::int64_t>(partials[index].index);
    return storeIntegers(reduction.kept, reduction.result, position, count, indices);
  }
  const bool isSum = reduction.operation == MUSTER_REDUCE_SUM || reduction.operation == MUSTER_REDUCE_SQUARES;
  float values[kTileElements];
  for (std::size_t index = 0; index < count; index++) values[index] = static_cast<float>(isSum ? partials[index].value * reduction.factor : partials[index].value);
  storeFloats(reduction.kept, reduction.result, position, count, values);
}

/** Elements [first, end) of what is reduced for one result. */
Partial reduceAlong(const Reduction& reduction, std::uint64_t position, std::uint64_t first, std::uint64_t end) {
  Operand along = reduction.along;
  along.data += offsetAt(reduction.kept, reduction.input, position) * elementBytes(along.dtype);
  Partial sum = nothing(reduction.operation);
  float buffer[kTileElements];
  for (std::uint64_t at = first; at < end; at += kTileElements) {
    const std::size_t count = std::min<std::uint64_t>(kTileElements, end - at);
    join(reduction.operation, sum, reduceRow(reduction.operation, loadFloats(reduction.reduced, along, at, count, buffer), count, at));
  }
  return sum;
}

void reduceOneByOne(const Reduction& reduction, unsigned threads) {
  const std::uint64_t chunkElements = chunkOf(reduction.reduced.elements, kPieceElements);
  const std::uint64_t chunks = std::max<std::uint64_t>(1, ceilDivide(reduction.reduced.elements, chunkElements));
  const std::uint64_t results = reduction.kept.elements;
  const auto reduceChunk = [&](std::uint64_t position, std::uint64_t chunk) {
    return reduceAlong(reduction, position, chunk * chunkElements, std::min<std::uint64_t>(reduction.reduced.elements, (chunk + 1) * chunkElements));
  };
  if (chunks == 1) {
    const std::uint64_t together = std::clamp<std::uint64_t>(kPieceElements / std::max<std::uint64_t>(1, reduction.reduced.elements), 1, kTileElements);
    return parallelFor(threads, (results + together - 1) / together, [&](std::size_t item) {
      Partial partials[kTileElements];
      const std::uint64_t first = item * together;
      const std::size_t count = std::min(together, results - first);
      for (std::size_t index = 0; index < count; index++) partials[index] = reduceChunk(first + index, 0);
      store(reduction, first, count, partials);
    });
  }
  std::vector<Partial> partials(results * chunks);
  parallelFor(threads, partials.size(), [&](std::size_t item) { partials[item] = reduceChunk(item / chunks, item % chunks); });
  for (std::uint64_t position = 0; position < results; position++) {
    Partial sum = partials[position * chunks];
    for (std::uint64_t chunk = 1; chunk < chunks; chunk++) join(reduction.operation, sum, partials[position * chunks + chunk]);
    store(reduction, position, 1, &sum);
  }
}

/** What joins a number to a sum. */
muster_map_operation joiningMap(muster_reduce_operation operation) {
  switch (operation) {
    case MUSTER_REDUCE_LARGEST: return MUSTER_MAP_MAXIMUM;
    case MUSTER_REDUCE_SMALLEST: return MUSTER_MAP_MINIMUM;
    case MUSTER_REDUCE_SQUARES: return MUSTER_MAP_MULTIPLY_ADD;
    default: return MUSTER_MAP_ADD;
  }
}

/** Rows [first, end) of what is reduced, of `width` neighbouring results from `position` on. */
void reduceRows(const Reduction& reduction, std::uint64_t position, std::size_t width, std::uint64_t first, std::uint64_t end, Partial* partials) {
  const muster_reduce_operation operation = reduction.operation;
  const Space rowSpace{1, {width}, width};
  const std::uint64_t start = offsetAt(reduction.kept, reduction.input, position);
  const auto empty = static_cast<float>(nothing(operation).value);
  std::fill_n(partials, width, nothing(operation));
  float sums[kTileElements];
  float buffer[kTileElements];
  for (std::uint64_t block = first; block < end; block += kRowsInF32) {
    std::fill_n(sums, width, empty);
    for (std::uint64_t row = block; row < std::min<std::uint64_t>(end, block + kRowsInF32); row++) {
      Operand operand{reduction.input.data + (start + offsetAt(reduction.reduced, reduction.along, row)) * elementBytes(reduction.input.dtype), reduction.input.dtype, {1}};
      const float* values = loadFloats(rowSpace, operand, 0, width, buffer);
      const bool squares = operation == MUSTER_REDUCE_SQUARES;
      table().map(joiningMap(operation), squares ? MapTile{values, values, sums, sums, width} : MapTile{sums, values, nullptr, sums, width});
    }
    for (std::size_t column = 0; column < width; column++) join(operation, partials[column], {sums[column], 0});
  }
}

/** Where the last kept dimension lies in a row. */
void reduceRowByRow(const Reduction& reduction, unsigned threads) {
  const std::uint64_t row = reduction.kept.shape[reduction.kept.rank - 1];
  const std::uint64_t tiles = (row + kTileElements - 1) / kTileElements;
  const std::uint64_t chunkRows = chunkOf(reduction.reduced.elements, kChunkRows);
  const std::uint64_t chunks = std::max<std::uint64_t>(1, ceilDivide(reduction.reduced.elements, chunkRows));
  const std::uint64_t outer = reduction.kept.elements / row;
  const auto reduceTile = [&](std::uint64_t tile, std::uint64_t chunk, Partial* partials) {
    const std::uint64_t column = tile % tiles * kTileElements;
    reduceRows(reduction, tile / tiles * row + column, std::min<std::uint64_t>(kTileElements, row - column), chunk * chunkRows,
               std::min<std::uint64_t>(reduction.reduced.elements, (chunk + 1) * chunkRows), partials);
  };
  const auto storeTile = [&](std::uint64_t tile, const Partial* partials) {
    const std::uint64_t column = tile % tiles * kTileElements;
    store(reduction, tile / tiles * row + column, std::min<std::uint64_t>(kTileElements, row - column), partials);
  };
  if (chunks == 1) {
    // Small tiles share an item: taking one costs more than they do.
    const std::uint64_t together = std::max<std::uint64_t>(1, kPieceElements / std::max<std::uint64_t>(1, std::min<std::uint64_t>(row, kTileElements) * reduction.reduced.elements));
    return parallelFor(threads, (outer * tiles + together - 1) / together, [&](std::size_t item) {
      Partial partials[kTileElements];
      for (std::uint64_t tile = item * together; tile < std::min(outer * tiles, (item + 1) * together); tile++) {
        reduceTile(tile, 0, partials);
        storeTile(tile, partials);
      }
    });
  }
  std::vector<Partial> partials(outer * tiles * chunks * kTileElements);
  parallelFor(threads, outer * tiles * chunks, [&](std::size_t item) { reduceTile(item / chunks, item % chunks, &partials[item * kTileElements]); });
  for (std::uint64_t tile = 0; tile < outer * tiles; tile++) {
    Partial* const sums = &partials[tile * chunks * kTileElements];
    const std::size_t width = std::min<std::uint64_t>(kTileElements, row - tile % tiles * kTileElements);
    for (std::uint64_t chunk = 1; chunk < chunks; chunk++) {
      for (std::size_t column = 0; column < width; column++) join(reduction.operation, sums[column], sums[chunk * kTileElements + column]);
    }
    storeTile(tile, sums);
  }
}

/** Exactly, in 64 bits. */
std::int64_t reduceIntegersAlong(const Reduction& reduction, std::uint64_t position) {
  Operand along = reduction.along;
  along.data += offsetAt(reduction.kept, reduction.input, position) * elementBytes(along.dtype);
  std::int64_t buffer[kTileElements];
  std::int64_t best = 0;
  std::uint64_t where = 0;
  for (std::uint64_t at = 0; at < reduction.reduced.elements; at += kTileElements) {
    const std::size_t count = std::min<std::uint64_t>(kTileElements, reduction.reduced.elements - at);
    loadIntegers(reduction.reduced, along, at, count, buffer);
    for (std::size_t index = 0; index < count; index++) {
      const std::int64_t value = buffer[index];
      if (reduction.operation == MUSTER_REDUCE_SUM) {
        best = static_cast<std::int64_t>(static_cast<std::uint64_t>(best) + static_cast<std::uint64_t>(value));
      } else if (at + index == 0 || (reduction.operation == MUSTER_REDUCE_SMALLEST ? value < best : value > best)) {
        best = value;
        where = at + index;
      }
    }
  }
  return reduction.operation == MUSTER_REDUCE_ARG_LARGEST ? static_cast<std::int64_t>(where) : best;
}

}  // namespace
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_reduce(const muster_reduce_call* call, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkReduce(*call); code != MUSTER_OK) return code;
  const Reduction reduction = reductionOf(*call);
  if (reduction.kept.elements == 0) return MUSTER_OK;
  const unsigned workers = threadCount(threads);
  if (!isFloating(call->input.dtype)) {
    parallelFor(workers, reduction.kept.elements, [&](std::size_t position) {
      const std::int64_t value = reduceIntegersAlong(reduction, position);
      storeIntegers(reduction.kept, reduction.result, position, 1, &value);
    });
    return MUSTER_OK;
  }
  if (call->operation != MUSTER_REDUCE_ARG_LARGEST && reducesRows(reduction, kRowMinElements)) {
    reduceRowByRow(reduction, workers);
  } else {
    reduceOneByOne(reduction, workers);
  }
  return MUSTER_OK;
}
