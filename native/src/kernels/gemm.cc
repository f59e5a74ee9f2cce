#include "muster/gemm.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <cmath>
#include <cstdlib>

#include "kernels/caches.h"
#include "kernels/calls.h"
#include "kernels/check.h"
#include "kernels/pieces.h"
#include "kernels/table.h"
#include "kernels/workspace.h"
#include "status.h"

namespace muster::kernels {
namespace {

/** About the side of a block of the result, which bounds what is packed at once: 8 MB of each input. */
constexpr std::size_t kBlockSide = 2048;

/** Rows so few that packing the columns for them costs more than reading these where they are: if they fit the second cache twice over, or not. */
constexpr std::size_t kRowsForNearColumns = 448;
constexpr std::size_t kRowsForFarColumns = 16;

/**
 * Rows that are neighbours in memory (of a transposed matrix) are read where they are when they are used for few columns only, or there is
 * not much of them: each word is a cache line of its own, so that no more of them stay in the first cache.
 */
constexpr std::size_t kColumnsForLinesInPlace = 256;
constexpr std::size_t kDepthForLinesInPlace = 256;

/** Units of work for each thread, at least: so many that all end at about the same time. */
constexpr std::size_t kUnitsPerThread = 16;

/** A thread more for so many FLOPs: a few microseconds, several times what it takes to offer work to a thread that is awake. */
constexpr double kFlopsPerThread = 5e5;

/** Of packed panels alone: 16 MB at most. */
thread_local Workspace workspace;

/** How a product's inputs are read: the same for a whole batch. */
struct Plan {
  /** A block's depth in words, at most. */
  std::size_t depthWords;
  bool rowsInPlace;
  bool columnsInPlace;
};

/** Two thirds of the first cache for the rows of a tile; the columns that pass by need the rest. */
std::size_t depthLimit(const GemmKernel& kernel) { return caches().firstBytes * 2 / 3 / (kernel.tileRows * sizeof(float)); }

/** Whether columns are best read from the input itself. What lies further apart than the caches reach is worth packing early. */
bool readsColumnsInPlace(const muster_gemm_call& call, const GemmKernel& kernel) {
  if (!kernel.columnsInPlace || call.right.column_stride != 1 || call.columns % kernel.lanes != 0) return false;
  const bool isNear = call.right.row_stride * call.depth * sizeof(float) <= 2 * caches().secondBytes;
  return call.rows <= (isNear ? kRowsForNearColumns : kRowsForFarColumns);
}

Plan planOf(const muster_gemm_call& call, const GemmKernel& kernel) {
  const std::size_t words = ceilDivide(call.depth, kernel.wordDepth);
  const bool hasRowsAlong = call.left.column_stride == 1;
  const bool hasShortBlocks = !hasRowsAlong && kernel.rowsInPlace && call.columns <= kColumnsForLinesInPlace;
  const std::size_t limit = hasShortBlocks ? std::min(kDepthForLinesInPlace, depthLimit(kernel)) : depthLimit(kernel);
  // Blocks of one depth: a short last one would pay for its sums as much as the others.
  const std::size_t depth = ceilDivide(words, std::max<std::size_t>(1, ceilDivide(words, limit)));
  const bool wholeWords = kernel.wordDepth == 1 || (hasRowsAlong && call.depth % kernel.wordDepth == 0);
  return {
      .depthWords = depth,
      .rowsInPlace = kernel.rowsInPlace && wholeWords && (hasRowsAlong || depth <= kDepthForLinesInPlace),
      .columnsInPlace = readsColumnsInPlace(call, kernel),
  };
}

/** One product of a batch. */
struct Product {
  const muster_gemm_call& call;
  const GemmKernel& kernel;
  Plan plan;
  const void* left;
  const void* right;
  void* result;
  /** f32 sums between the blocks of a depth: of one block of a 16-bit result, or null. */
  float* sums;
  unsigned threads;
};

/** The part of the result and of the depth that is worked on. */
struct Block {
  std::size_t row;
  std::size_t rows;
  std::size_t column;
  std::size_t columns;
  std::size_t depth;
  std::size_t depths;
};

/** One of a block's panels, which lie one behind the other. */
Panel panelAt(const Panel& first, std::size_t index) { return {first.data + index * first.nextBytes, first.lineStride, first.depthStride, first.nextBytes}; }

const void* at(const void* data, muster_dtype dtype, std::size_t index) { return static_cast<const std::byte*>(data) + index * elementBytes(dtype); }

/** The first of those that were packed, of `lines` lines. */
Panel packedPanel(const float* panels, std::size_t lines, std::size_t words) {
  constexpr std::size_t wordBytes = sizeof *panels;
  return {reinterpret_cast<const std::byte*>(panels), wordBytes, lines * wordBytes, lines * words * wordBytes};
}

Panel firstRows(const Product& product, const Block& block, const float* packed) {
  const GemmKernel& kernel = product.kernel;
  if (!product.plan.rowsInPlace) return packedPanel(packed, kernel.tileRows, ceilDivide(block.depths, kernel.wordDepth));
  const muster_matrices& left = product.call.left;
  const std::size_t bytes = elementBytes(left.tensor.dtype);
  const auto* first = static_cast<const std::byte*>(at(product.left, left.tensor.dtype, block.row * left.row_stride + block.depth * left.column_stride));
  return {first, left.row_stride * bytes, left.column_stride * kernel.wordDepth * bytes, kernel.tileRows * left.row_stride * bytes};
}

Panel firstColumns(const Product& product, const Block& block, const float* packed) {
  const GemmKernel& kernel = product.kernel;
  if (!product.plan.columnsInPlace) return packedPanel(packed, kernel.tileColumns, ceilDivide(block.depths, kernel.wordDepth));
  const muster_matrices& right = product.call.right;
  const auto* first = static_cast<const std::byte*>(at(product.right, right.tensor.dtype, block.depth * right.row_stride + block.column));
  return {first, sizeof(float), right.row_stride * sizeof(float), kernel.tileColumns * sizeof(float)};
}

/** Lines `first` and following of an input, for one panel. */
Lines linesOf(const Block& block, const void* data, muster_dtype dtype, std::size_t first, std::size_t lines, std::size_t lineStride, std::size_t depthStride) {
  return {at(data, dtype, first * lineStride + block.depth * depthStride), lineStride, depthStride, lines, block.depths};
}

/** Packs what cannot be read in place. */
void packBlock(const Product& product, const Block& block, float* packedRows, float* packedColumns) {
  const GemmKernel& kernel = product.kernel;
  const muster_matrices& left = product.call.left;
  const muster_matrices& right = product.call.right;
  const std::size_t words = ceilDivide(block.depths, kernel.wordDepth);
  const std::size_t rowCount = product.plan.rowsInPlace ? 0 : ceilDivide(block.rows, kernel.tileRows);
  const std::size_t columnCount = product.plan.columnsInPlace ? 0 : ceilDivide(block.columns, kernel.tileColumns);
  parallelFor(product.threads, rowCount + columnCount, [&](std::size_t item) {
    if (item < rowCount) {
      const std::size_t first = item * kernel.tileRows;
      const std::size_t lines = std::min(kernel.tileRows, block.rows - first);
      kernel.packRows(linesOf(block, product.left, left.tensor.dtype, block.row + first, lines, left.row_stride, left.column_stride), packedRows + first * words);
    } else {
      const std::size_t first = (item - rowCount) * kernel.tileColumns;
      const std::size_t lines = std::min(kernel.tileColumns, block.columns - first);
      kernel.packColumns(linesOf(block, product.right, right.tensor.dtype, block.column + first, lines, right.column_stride, right.row_stride), packedColumns + first * words);
    }
  });
}

/** Where the tile at a row and column of the block goes. */
TileTarget targetOf(const Product& product, const Block& block, std::size_t row, std::size_t column) {
  const muster_gemm_call& call = product.call;
  const std::size_t place = (block.row + row) * call.result.row_stride + block.column + column;
  void* result = const_cast<void*>(at(product.result, call.result.tensor.dtype, place));
  const bool apart = product.sums != nullptr;
  return {
      .rows = std::min(product.kernel.tileRows, block.rows - row),
      .columns = std::min(product.kernel.tileColumns, block.columns - column),
      .sums = apart ? product.sums + row * block.columns + column : static_cast<float*>(result),
      .sumsStride = apart ? block.columns : call.result.row_stride,
      .result = result,
      .resultStride = call.result.row_stride,
      .bias = call.bias.elements == 0 ? nullptr : static_cast<const float*>(call.bias.data) + block.column + column,
      .alpha = call.alpha,
      .beta = call.beta,
      .activation = call.activation,
      .isFirstDepth = block.depth == 0,
      .isLastDepth = block.depth + block.depths == call.depth,
  };
}

void multiplyBlock(const Product& product, const Block& block, const Panel& left, const Panel& right) {
  const GemmKernel& kernel = product.kernel;
  const auto tile = kernel.tile[product.call.result.tensor.dtype];
  const std::size_t words = ceilDivide(block.depths, kernel.wordDepth);
  const std::size_t rowCount = ceilDivide(block.rows, kernel.tileRows);
  const std::size_t columnCount = ceilDivide(block.columns, kernel.tileColumns);
  // Columns that a thread goes through again for every panel of rows: most of the second cache.
  const std::size_t fitting = std::max<std::size_t>(1, caches().secondBytes * 3 / 5 / (std::max<std::size_t>(1, words) * kernel.tileColumns * sizeof(float)));
  const std::size_t columnGroups = ceilDivide(columnCount, fitting);
  const std::size_t groupColumns = ceilDivide(columnCount, columnGroups);
  const std::size_t groupRows = std::clamp<std::size_t>(rowCount * columnGroups / (product.threads * kUnitsPerThread), 1, rowCount);
  const std::size_t rowGroups = ceilDivide(rowCount, groupRows);
  parallelFor(product.threads, columnGroups * rowGroups, [&](std::size_t item) {
    const std::size_t firstColumn = item / rowGroups * groupColumns;
    const std::size_t firstRow = item % rowGroups * groupRows;
    const std::size_t endColumn = std::min(columnCount, firstColumn + groupColumns);
    const std::size_t endRow = std::min(rowCount, firstRow + groupRows);
    for (std::size_t row = firstRow; row < endRow; row++) {
      for (std::size_t column = firstColumn; column < endColumn; column++) {
        tile(words, panelAt(left, row), panelAt(right, column), targetOf(product, block, row * kernel.tileRows, column * kernel.tileColumns));
      }
    }
  });
}

/** A side's block: about kBlockSide, and whole tiles. */
std::size_t blockSide(std::size_t tile) { return ceilDivide(kBlockSide, tile) * tile; }

/** The floats that a product's largest block needs for what is packed. */
struct PackedSizes {
  std::size_t rows;
  std::size_t columns;
};

PackedSizes packedSizes(const muster_gemm_call& call, const GemmKernel& kernel, const Plan& plan) {
  const auto floats = [&](std::size_t lines, std::size_t tile) { return ceilDivide(std::min(lines, blockSide(tile)), tile) * tile * plan.depthWords; };
  return {plan.rowsInPlace ? 0 : floats(call.rows, kernel.tileRows), plan.columnsInPlace ? 0 : floats(call.columns, kernel.tileColumns)};
}

/** @returns false when there is no memory for the panels. */
bool multiply(const Product& product) {
  const muster_gemm_call& call = product.call;
  const GemmKernel& kernel = product.kernel;
  const PackedSizes sizes = packedSizes(call, kernel, product.plan);
  constexpr std::size_t lineFloats = 16;
  const std::size_t columnsAt = ceilDivide(sizes.rows, lineFloats) * lineFloats;
  float* const packedRows = workspace.reserve(columnsAt + sizes.columns + lineFloats);
  if (packedRows == nullptr) return false;
  float* const packedColumns = packedRows + columnsAt;
  const std::size_t sideRows = blockSide(kernel.tileRows);
  const std::size_t sideColumns = blockSide(kernel.tileColumns);
  const std::size_t depths = product.plan.depthWords * kernel.wordDepth;
  for (std::size_t column = 0; column < call.columns; column += sideColumns) {
    for (std::size_t row = 0; row < call.rows; row += sideRows) {
      std::size_t depth = 0;
      do {  // once even without any depth: beta, bias and activation remain
        const Block block{row, std::min(sideRows, call.rows - row), column, std::min(sideColumns, call.columns - column), depth, std::min<std::size_t>(depths, call.depth - depth)};
        packBlock(product, block, packedRows, packedColumns);
        multiplyBlock(product, block, firstRows(product, block, packedRows), firstColumns(product, block, packedColumns));
        depth += block.depths;
      } while (depth < call.depth);
    }
  }
  return true;
}

/** Sums apart are needed where a depth has several blocks, and the result cannot hold them. */
std::size_t sumsFloats(const muster_gemm_call& call, const GemmKernel& kernel, const Plan& plan) {
  if (call.result.tensor.dtype == MUSTER_F32 || call.depth <= plan.depthWords * kernel.wordDepth) return 0;
  return std::min<std::size_t>(call.rows, blockSide(kernel.tileRows)) * std::min<std::size_t>(call.columns, blockSide(kernel.tileColumns));
}

/** As many threads as the work is worth. */
unsigned usefulThreads(const muster_gemm_call& call, unsigned threads) {
  const double flops = 2.0 * static_cast<double>(call.batches) * static_cast<double>(call.rows) * static_cast<double>(call.columns) * static_cast<double>(call.depth);
  return static_cast<unsigned>(std::clamp(flops / kFlopsPerThread, 1.0, static_cast<double>(threads)));
}

/** The batch, product by product or, when there are enough, side by side. @returns false when there was no memory. */
bool multiplyAll(const muster_gemm_call& call, unsigned threads) {
  const GemmKernel& kernel = *table().gemm[call.left.tensor.dtype];
  const Plan plan = planOf(call, kernel);
  std::atomic<bool> done = true;
  const auto one = [&](std::size_t batch, unsigned ownThreads) {
    const std::size_t floats = sumsFloats(call, kernel, plan);
    const OwnFloats sums(floats == 0 ? nullptr : static_cast<float*>(std::malloc(floats * sizeof(float))));
    const auto matrix = [&](const muster_matrices& matrices) { return at(matrices.tensor.data, matrices.tensor.dtype, batch * matrices.batch_stride); };
    if (floats != 0 && sums == nullptr) {
      done = false;
    } else if (!multiply({call, kernel, plan, matrix(call.left), matrix(call.right), const_cast<void*>(matrix(call.result)), sums.get(), ownThreads})) {
      done = false;
    }
  };
  if (call.batches >= threads) {
    parallelFor(threads, call.batches, [&](std::size_t batch) { one(batch, 1); });
  } else {
    for (std::size_t batch = 0; batch < call.batches; batch++) one(batch, threads);
  }
  return done;
}

}  // namespace

void multiplyPanel(const GemmKernel& kernel, const PanelProduct& product) {
  TileTarget target{
      .rows = product.rows,
      .columns = 0,
      .sums = nullptr,
      .sumsStride = product.resultStride,
      .result = nullptr,
      .resultStride = product.resultStride,
      .bias = nullptr,
      .alpha = 1,
      .beta = product.adds ? 1.0f : 0.0f,
      .activation = MUSTER_IDENTITY,
      .isFirstDepth = true,
      .isLastDepth = true,
  };
  std::size_t inPanel = product.firstColumn % product.panelColumns;
  Panel right = panelAt(product.right, product.firstColumn / product.panelColumns);
  right.data += inPanel * sizeof(float);
  for (std::size_t column = product.firstColumn; column < product.endColumn; column += target.columns) {
    target.columns = std::min(product.panelColumns - inPanel, product.endColumn - column);
    target.result = target.sums = product.result + column;
    kernel.tile[MUSTER_F32](product.depth, product.left, right, target);
    right.data += right.nextBytes - inPanel * sizeof(float);
    inPanel = 0;
  }
}

}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_gemm(const muster_gemm_call* call, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkGemm(*call); code != MUSTER_OK) return code;
  if (call->rows == 0 || call->columns == 0) return MUSTER_OK;
  if (multiplyAll(*call, usefulThreads(*call, threadCount(threads)))) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_SYSTEM_ERROR, ENOMEM, "no memory for the packed parts of a matrix product");
}
