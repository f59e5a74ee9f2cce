/**
 * The parts of a matrix product. What it does: muster/gemm.h.
 *
 * 2 * rows * columns * depth FLOPs. As in BLIS (Van Zee and van de Geijn 2015), a tile's sums stay in registers for the depth of a block: 8 x 48 with
 * AVX-512 (24 of 32 registers), 6 x 16 with AVX2 (12 of 16), 8 x 12 with NEON (24 of 32). Columns are copied into panels as wide as a tile, one depth
 * behind the other, so that the innermost loop reads them in order; what is small is read where it lies, and so are rows of words: 8 streams are
 * no more than the first cache keeps apart, even when they lie a power of two from each other.
 *
 *   result block (kBlockSide x kBlockSide) <- for each depth of which a tile's rows fit the first cache:
 *     pack what cannot be read in place (threads: by panel)
 *     for each group of column panels that fits the second cache, for each panel of rows (first cache): tiles (threads: by group and rows)
 *
 * What a profile says, f32 on one thread of a Zen 5 core at 3.7 GHz: two products of 16 lanes a cycle are 237 GFLOP/s. The tile alone makes 230 to 236
 * on panels in the first cache, 228 to 235 on columns in the second. Of a product of 2048, 2 % is packing, 0.5 % finding tiles, and the tile makes 215:
 * what is left are lines of the inputs and the result that come late from the last cache. Versions tried at 2048 (oneDNN 215, OpenBLAS 108):
 *   187  14 x 32, both inputs packed, depths of 512, sums by way of memory (8 % of a tile of depth 128, 2 % at 512)
 *   197  8 x 48, sums and results straight from registers, rows in place
 *   205  the rows that come next are fetched while these are used up: they come once for each group of columns
 *   209  depths of 1024: the result is read and written half as often
 * 256 gained 5 % from columns in place, 64 x 4096 x 1024 would lose 20 %: a page for every word of the depth.
 *
 * A word is an f32, or with AVX512-BF16 a pair of bf16 that are neighbours in depth.
 */
#pragma once

#include <cstddef>
#include <cstring>

#include "kernels/activation.h"
#include "kernels/formats.h"

namespace muster::kernels {

/** Some lines of an input: rows of left, or columns of right. */
struct Lines {
  const void* data;
  std::size_t lineStride;
  std::size_t depthStride;
  /** Fewer than the panel has: the others are zeros. */
  std::size_t lines;
  std::size_t depth;
};

/** Lines as a tile reads them, packed or where they are. Strides are bytes. */
struct Panel {
  const std::byte* data;
  /** From a line to the next, of rows. Those of columns are neighbours. */
  std::size_t lineStride;
  /** From a word to the next in depth. */
  std::size_t depthStride;
  /** To the panel that follows. */
  std::size_t nextBytes;
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
  /** Columns in a vector. */
  std::size_t lanes;
  /** Elements in a word. */
  std::size_t wordDepth;
  /** Whether a tile can read rows, or columns that are neighbours, from the inputs themselves. */
  bool rowsInPlace;
  bool columnsInPlace;
  /** Copy lines into a panel of tileRows or tileColumns lines. */
  void (*packRows)(const Lines& lines, float* panel);
  void (*packColumns)(const Lines& lines, float* panel);
  /** One tile over `depth` words; [dtype of the result]. */
  void (*tile[3])(std::size_t depth, const Panel& left, const Panel& right, const TileTarget& target);
};

/** One panel of rows times some columns of f32: what a caller makes of tiles that has the inputs as these read them. */
struct PanelProduct {
  std::size_t rows;
  /** From a multiple of the vector's lanes up to any: of `right`, and of the result. */
  std::size_t firstColumn;
  std::size_t endColumn;
  /** Words. */
  std::size_t depth;
  Panel left;
  /** The panel of column 0, and how many columns each has: those of a tile at most. */
  Panel right;
  std::size_t panelColumns;
  float* result;
  std::size_t resultStride;
  /** Whether the product is added to the result. */
  bool adds;
};

/** Multiplies on this thread, a tile after another. */
void multiplyPanel(const GemmKernel& kernel, const PanelProduct& product);

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

inline float wordAt(const Panel& panel, std::size_t line, std::size_t lineStride, std::size_t depth) {
  float word;
  std::memcpy(&word, panel.data + line * lineStride + depth * panel.depthStride, sizeof word);
  return word;
}

template <class Result>
void tile(std::size_t depth, const Panel& left, const Panel& right, const TileTarget& target) {
  auto* result = static_cast<typename Result::Element*>(target.result);
  for (std::size_t row = 0; row < target.rows; row++) {
    for (std::size_t column = 0; column < target.columns; column++) {
      float sum = 0;
      for (std::size_t at = 0; at < depth; at++) sum += wordAt(left, row, left.lineStride, at) * wordAt(right, column, sizeof(float), at);
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
inline constexpr GemmKernel kGemmKernel{kTileRows, kTileColumns, 1, 1, Format::kDtype == MUSTER_F32, Format::kDtype == MUSTER_F32, pack<Format, kTileRows>, pack<Format, kTileColumns>, {tile<F32>, tile<F16>, tile<Bf16>}};

}  // namespace reference
}  // namespace muster::kernels
