#include "muster/gemm.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <cmath>
#include <cstdlib>
#include <memory>

#include <sys/mman.h>

#include "kernels/calls.h"
#include "kernels/check.h"
#include "kernels/pieces.h"
#include "kernels/table.h"
#include "status.h"

namespace muster::kernels {
namespace {

/** About the side of a block of the result: its packed inputs and its sums fit a last cache of 32 MB. */
constexpr std::size_t kBlockSide = 2048;

/** Packed columns that a thread goes through again for every panel of rows: most of a second cache of 1 MB. */
constexpr std::size_t kColumnGroupBytes = std::size_t{600} << 10;

/** Units of work for each thread, at least: so many that all end at about the same time. */
constexpr std::size_t kUnitsPerThread = 16;

/** A thread more for so many FLOPs: some ten microseconds, several times what waking a thread takes. */
constexpr double kFlopsPerThread = 4e6;

std::size_t ceilDivide(std::size_t value, std::size_t divisor) { return (value + divisor - 1) / divisor; }

struct Free {
  void operator()(float* memory) const { std::free(memory); }
};

/** Memory of a thread that its calls use one after another: of packed panels alone, 6 MB at most. */
class Workspace {
 public:
  /** Aligned to a cache line, and large ones to huge pages, of which the kernel is asked for some. @returns null when there is none. */
  float* reserve(std::size_t floats) {
    if (floats <= floats_) return memory_.get();
    memory_.reset();
    constexpr std::size_t lineBytes = 64;
    constexpr std::size_t hugeBytes = std::size_t{2} << 20;
    const std::size_t alignment = floats * sizeof(float) < hugeBytes ? lineBytes : hugeBytes;
    const std::size_t sizeBytes = ceilDivide(floats * sizeof(float), alignment) * alignment;
    memory_.reset(static_cast<float*>(std::aligned_alloc(alignment, sizeBytes)));
    floats_ = memory_ == nullptr ? 0 : sizeBytes / sizeof(float);
#ifdef MADV_HUGEPAGE
    if (floats_ != 0 && alignment == hugeBytes) ::madvise(memory_.get(), sizeBytes, MADV_HUGEPAGE);
#endif
    return memory_.get();
  }

 private:
  std::unique_ptr<float, Free> memory_;
  std::size_t floats_ = 0;
};

thread_local Workspace panels;

/** One product of a batch. */
struct Product {
  const muster_gemm_call& call;
  const GemmKernel& kernel;
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

const void* at(const void* data, muster_dtype dtype, std::size_t index) { return static_cast<const std::byte*>(data) + index * elementBytes(dtype); }

/** Lines `first` and following of an input, for one panel. */
Lines linesOf(const Block& block, const void* data, muster_dtype dtype, std::size_t first, std::size_t lines, std::size_t lineStride, std::size_t depthStride) {
  return {at(data, dtype, first * lineStride + block.depth * depthStride), lineStride, depthStride, lines, block.depths};
}

void packBlock(const Product& product, const Block& block, float* rowPanels, float* columnPanels) {
  const GemmKernel& kernel = product.kernel;
  const muster_matrices& left = product.call.left;
  const muster_matrices& right = product.call.right;
  const std::size_t words = ceilDivide(block.depths, kernel.wordDepth);
  const std::size_t rowCount = ceilDivide(block.rows, kernel.tileRows);
  const std::size_t columnCount = ceilDivide(block.columns, kernel.tileColumns);
  parallelFor(product.threads, rowCount + columnCount, [&](std::size_t item) {
    if (item < rowCount) {
      const std::size_t first = item * kernel.tileRows;
      const std::size_t lines = std::min(kernel.tileRows, block.rows - first);
      kernel.packRows(linesOf(block, product.left, left.tensor.dtype, block.row + first, lines, left.row_stride, left.column_stride), rowPanels + first * words);
    } else {
      const std::size_t first = (item - rowCount) * kernel.tileColumns;
      const std::size_t lines = std::min(kernel.tileColumns, block.columns - first);
      kernel.packColumns(linesOf(block, product.right, right.tensor.dtype, block.column + first, lines, right.column_stride, right.row_stride), columnPanels + first * words);
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

void multiplyBlock(const Product& product, const Block& block, const float* rowPanels, const float* columnPanels) {
  const GemmKernel& kernel = product.kernel;
  const auto tile = kernel.tile[product.call.result.tensor.dtype];
  const std::size_t words = ceilDivide(block.depths, kernel.wordDepth);
  const std::size_t rowCount = ceilDivide(block.rows, kernel.tileRows);
  const std::size_t columnCount = ceilDivide(block.columns, kernel.tileColumns);
  const std::size_t fitting = std::max<std::size_t>(1, kColumnGroupBytes / (std::max<std::size_t>(1, words) * kernel.tileColumns * sizeof(float)));
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
        const std::size_t top = row * kernel.tileRows;
        const std::size_t left = column * kernel.tileColumns;
        tile(words, rowPanels + top * words, columnPanels + left * words, targetOf(product, block, top, left));
      }
    }
  });
}

/** A side's block: about kBlockSide, and whole tiles. */
std::size_t blockSide(std::size_t tile) { return ceilDivide(kBlockSide, tile) * tile; }

/** The floats that the panels of a product's largest block need: rows first, then columns. */
struct PanelSizes {
  std::size_t rows;
  std::size_t columns;
};

PanelSizes panelSizes(const muster_gemm_call& call, const GemmKernel& kernel) {
  const std::size_t words = std::min(kBlockDepth, ceilDivide(call.depth, kernel.wordDepth));
  const auto floats = [&](std::size_t lines, std::size_t tile) { return ceilDivide(std::min(lines, blockSide(tile)), tile) * tile * words; };
  return {floats(call.rows, kernel.tileRows), floats(call.columns, kernel.tileColumns)};
}

/** @returns false when there is no memory for the panels. */
bool multiply(const Product& product) {
  const muster_gemm_call& call = product.call;
  const GemmKernel& kernel = product.kernel;
  const PanelSizes sizes = panelSizes(call, kernel);
  constexpr std::size_t lineFloats = 16;
  const std::size_t columnsAt = ceilDivide(sizes.rows, lineFloats) * lineFloats;
  float* const rowPanels = panels.reserve(columnsAt + sizes.columns + lineFloats);
  if (rowPanels == nullptr) return false;
  float* const columnPanels = rowPanels + columnsAt;
  const std::size_t sideRows = blockSide(kernel.tileRows);
  const std::size_t sideColumns = blockSide(kernel.tileColumns);
  // Blocks of one depth: a short last one would pay for its sums as much as the others.
  const std::size_t most = kBlockDepth * kernel.wordDepth;
  const std::size_t depths = ceilDivide(ceilDivide(call.depth, std::max<std::size_t>(1, ceilDivide(call.depth, most))), kernel.wordDepth) * kernel.wordDepth;
  for (std::size_t column = 0; column < call.columns; column += sideColumns) {
    for (std::size_t row = 0; row < call.rows; row += sideRows) {
      std::size_t depth = 0;
      do {  // once even without any depth: beta, bias and activation remain
        const Block block{row, std::min(sideRows, call.rows - row), column, std::min(sideColumns, call.columns - column), depth, std::min<std::size_t>(depths, call.depth - depth)};
        packBlock(product, block, rowPanels, columnPanels);
        multiplyBlock(product, block, rowPanels, columnPanels);
        depth += block.depths;
      } while (depth < call.depth);
    }
  }
  return true;
}

/** Sums apart are needed where a depth has several blocks, and the result cannot hold them. */
std::size_t sumsFloats(const muster_gemm_call& call, const GemmKernel& kernel) {
  if (call.result.tensor.dtype == MUSTER_F32 || call.depth <= kBlockDepth * kernel.wordDepth) return 0;
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
  std::atomic<bool> done = true;
  const auto one = [&](std::size_t batch, unsigned ownThreads) {
    const std::size_t floats = sumsFloats(call, kernel);
    const std::unique_ptr<float, Free> sums(floats == 0 ? nullptr : static_cast<float*>(std::malloc(floats * sizeof(float))));
    const auto matrix = [&](const muster_matrices& matrices) { return at(matrices.tensor.data, matrices.tensor.dtype, batch * matrices.batch_stride); };
    if (floats != 0 && sums == nullptr) {
      done = false;
    } else if (!multiply({call, kernel, matrix(call.left), matrix(call.right), const_cast<void*>(matrix(call.result)), sums.get(), ownThreads})) {
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
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_gemm(const muster_gemm_call* call, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkGemm(*call); code != MUSTER_OK) return code;
  if (call->rows == 0 || call->columns == 0) return MUSTER_OK;
  if (multiplyAll(*call, usefulThreads(*call, threadCount(threads)))) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_SYSTEM_ERROR, ENOMEM, "no memory for the packed parts of a matrix product");
}
