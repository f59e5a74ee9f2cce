/**
 * The parts of a matrix product. What it does: muster/gemm.h.
 *
 * 2 * rows * columns * depth FLOPs. As in BLIS (Van Zee and van de Geijn 2015), the inputs are copied into panels: as many lines as a
 * tile of the result has rows or columns, one depth behind the other, so that the innermost loop reads both in order. A tile's sums
 * stay in registers for the depth of a block: 14 x 32 with AVX-512 (28 of 32 registers), 6 x 16 with AVX2 (12 of 16), 8 x 12 with NEON (24 of 32).
 *
 *   result block (kBlockSide x kBlockSide) <- for each kBlockDepth:
 *     pack the panels of left and right (threads: by panel)
 *     for each group of column panels that fits the second cache, for each panel of rows (first cache): tiles (threads: by group and rows)
 *
 * Versions tried, f32 1024 on one thread of a Zen 5 core whose tile alone makes 226 GFLOP/s (oneDNN 201, OpenBLAS 105):
 *   130  depths of 320, row panels in the second cache, column panels in the first (the order of BLIS)
 *   155  depths of equal length, up to 384
 *   165  up to 512: the result is read and written half as often
 *   174  panels fetched ahead by the tile, since the processor's own prefetching ends at every page; panels in huge pages
 *   184  row panels in the first cache and column panels in the second: neighbouring tiles share the result's pages
 *   187  packing fetches ahead, and transposes whole squares; 2048 makes 190 (oneDNN 211), 512 makes 187 (oneDNN 187)
 *
 * A word of a panel is an f32, or with AVX512-BF16 a pair of bf16 that are neighbours in depth.
 */
#pragma once

#include "kernels/activation.h"
#include "kernels/formats.h"

namespace muster::kernels {

/** A block's depth in words, at most: a panel of left has 14 * 512 * 4 = 28 KB then, of a first cache of 32 or 48 KB. */
inline constexpr std::size_t kBlockDepth = 512;

/** Some lines of an input: rows of left, or columns of right. */
struct Lines {
  const void* data;
  std::size_t lineStride;
  std::size_t depthStride;
  /** Fewer than the panel has: the others are zeros. */
  std::size_t lines;
  std::size_t depth;
};

/** Where a tile's sums go. */
struct TileTarget {
  /** How much of the tile lies inside the result. */
  std::size_t rows;
  std::size_t columns;
  /** f32 sums of the depths so far: the result itself where that is f32. Not looked at where the first depth is the last. */
  float* sums;
  std::size_t sumsStride;
  void* result;
  std::size_t resultStride;
  /** Of the tile's first column; null for none. */
  const float* bias;
  float alpha;
  float beta;
  muster_activation activation;
  bool isFirstDepth;
  bool isLastDepth;
};

/** How one instruction set multiplies inputs of one dtype. */
struct GemmKernel {
  std::size_t tileRows;
  std::size_t tileColumns;
  /** Elements in a word. */
  std::size_t wordDepth;
  /** Copy lines into a panel of tileRows or tileColumns lines. */
  void (*packRows)(const Lines& lines, float* panel);
  void (*packColumns)(const Lines& lines, float* panel);
  /** One tile over `depth` words; [dtype of the result]. */
  void (*tile[3])(std::size_t depth, const float* rows, const float* columns, const TileTarget& target);
};

namespace reference {

inline constexpr std::size_t kTileRows = 4;
inline constexpr std::size_t kTileColumns = 4;

template <class Format, std::size_t width>
void pack(const Lines& lines, float* panel) {
  const auto* data = static_cast<const typename Format::Element*>(lines.data);
  for (std::size_t depth = 0; depth < lines.depth; depth++) {
    for (std::size_t line = 0; line < width; line++) {
      panel[depth * width + line] = line < lines.lines ? read<Format>(data, line * lines.lineStride + depth * lines.depthStride) : 0;
    }
  }
}

template <class Result>
void tile(std::size_t depth, const float* rows, const float* columns, const TileTarget& target) {
  auto* result = static_cast<typename Result::Element*>(target.result);
  for (std::size_t row = 0; row < target.rows; row++) {
    for (std::size_t column = 0; column < target.columns; column++) {
      float sum = 0;
      for (std::size_t at = 0; at < depth; at++) sum += rows[at * kTileRows + row] * columns[at * kTileColumns + column];
      sum *= target.alpha;
      float* const sums = target.sums + row * target.sumsStride + column;
      const std::size_t place = row * target.resultStride + column;
      if (!target.isFirstDepth) {
        sum += *sums;
      } else if (target.beta != 0) {
        sum += target.beta * read<Result>(result, place);
      }
      if (!target.isLastDepth) {
        *sums = sum;
      } else {
        if (target.bias != nullptr) sum += target.bias[column];
        write<Result>(result, place, activate(target.activation, sum));
      }
    }
  }
}

template <class Format>
inline constexpr GemmKernel kGemmKernel{kTileRows, kTileColumns, 1, pack<Format, kTileRows>, pack<Format, kTileColumns>, {tile<F32>, tile<F16>, tile<Bf16>}};

}  // namespace reference
}  // namespace muster::kernels
