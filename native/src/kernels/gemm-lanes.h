/** The vector versions of gemm.h: packing and the tile. */
#pragma once

#include "kernels/gemm.h"
#include "kernels/lanes.h"
#include "kernels/math-lanes.h"

namespace muster::kernels::lanes {
namespace {

#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr std::size_t kTileRows = 6;
constexpr std::size_t kTileVectors = 2;
#else
constexpr std::size_t kTileRows = 8;
constexpr std::size_t kTileVectors = 3;
#endif
constexpr std::size_t kTileColumns = kTileVectors * kLanes;

/** How many words ahead columns are fetched: the processor's own prefetching ends at every page. What follows a panel is the next one. */
constexpr std::size_t kColumnsAhead = 8;
/** The same of the inputs that are packed, in vectors along a line, and in lines. */
constexpr std::size_t kPackAhead = 8;

/** Words are f32, widened from `Format`. */
template <class Format>
struct Widened {
  using Element = typename Format::Element;
  static constexpr std::size_t kWordDepth = 1;
  static constexpr bool kRowsInPlace = Format::kDtype == MUSTER_F32;
  static constexpr bool kColumnsInPlace = kRowsInPlace;

  /** A vector of words that follow each other in depth. */
  [[gnu::always_inline]] static Floats along(const Element* line) { return load<Format>(line); }
  /** A word of each of as many lines as a vector has, which are neighbours in memory. */
  [[gnu::always_inline]] static Floats across(const Element* words, std::size_t) { return load<Format>(words); }
  [[gnu::always_inline]] static float one(const Element* word, std::size_t, bool) {
    if constexpr (Format::kDtype == MUSTER_F32) {
      return *word;
    } else {
      return loadPart<Format>(word, 1)[0];
    }
  }
};

#if defined(__AVX512BF16__)
/** Words are pairs of bf16. */
struct Bf16Pairs {
  using Element = std::uint16_t;
  static constexpr std::size_t kWordDepth = 2;
  static constexpr bool kRowsInPlace = true;
  static constexpr bool kColumnsInPlace = false;

  [[gnu::always_inline]] static Floats along(const Element* line) { return loadVector<Floats>(line); }
  [[gnu::always_inline]] static Floats across(const Element* words, std::size_t depthStride) {
    const Words even = __builtin_convertvector(loadVector<Halves>(words), Words);
    const Words odd = __builtin_convertvector(loadVector<Halves>(words + depthStride), Words);
    return floats(even | odd << 16);
  }
  [[gnu::always_inline]] static float one(const Element* word, std::size_t depthStride, bool isWhole) {
    const std::uint32_t odd = isWhole ? word[depthStride] : 0;
    return std::bit_cast<float>(*word | odd << 16);
  }
};
#endif

/** Exchanges rows and columns of a square of vectors: at each distance, the halves that lie crosswise change places. */
[[gnu::always_inline]] inline void transpose(Floats (&rows)[kLanes]) {
#pragma GCC unroll 4
  for (std::size_t distance = 1; distance < kLanes; distance *= 2) {
    Masks upper{};
    Masks lower{};
    for (std::size_t lane = 0; lane < kLanes; lane++) {
      const bool crosses = (lane & distance) != 0;
      upper[lane] = static_cast<std::int32_t>(crosses ? kLanes + lane - distance : lane);
      lower[lane] = static_cast<std::int32_t>(crosses ? kLanes + lane : lane + distance);
    }
#pragma GCC unroll 16
    for (std::size_t row = 0; row < kLanes; row++) {
      if ((row & distance) != 0) continue;
      const Floats a = rows[row];
      const Floats b = rows[row + distance];
      rows[row] = __builtin_shuffle(a, b, upper);
      rows[row + distance] = __builtin_shuffle(a, b, lower);
    }
  }
}

/** Lines whose depth lies in one piece: squares of them are transposed. @returns the words that were packed. */
template <class Word, std::size_t width>
std::size_t packAlong(const Lines& lines, std::size_t depth, float* panel) {
  const auto* data = static_cast<const typename Word::Element*>(lines.data);
  std::size_t at = 0;
  for (; at + kLanes <= depth; at += kLanes) {
    for (std::size_t first = 0; first < width; first += kLanes) {
      constexpr std::size_t lastWidth = width % kLanes == 0 ? kLanes : width % kLanes;
      const std::size_t present = lines.lines > first ? std::min(kLanes, lines.lines - first) : 0;
      Floats square[kLanes];
#pragma GCC unroll 16
      for (std::size_t line = 0; line < kLanes; line++) {
        if (line < present) __builtin_prefetch(data + (first + line) * lines.lineStride + (at + kPackAhead * kLanes) * Word::kWordDepth);
        square[line] = line < present ? Word::along(data + (first + line) * lines.lineStride + at * Word::kWordDepth) : Floats{};
      }
      transpose(square);
#pragma GCC unroll 16
      for (std::size_t word = 0; word < kLanes; word++) {
        float* to = panel + (at + word) * width + first;
        if (first + kLanes <= width || at + word + 1 < depth) {  // what reaches into the next word is overwritten by it
          std::memcpy(to, &square[word], sizeof square[word]);
        } else {
          std::memcpy(to, &square[word], lastWidth * sizeof *to);
        }
      }
    }
  }
  return at;
}

/** A word of each of `count` lines that are neighbours in memory, fewer than a vector has; zeros behind them. */
template <class Word>
[[gnu::always_inline]] inline Floats acrossPart(const typename Word::Element* words, std::size_t depthStride, std::size_t count) {
  typename Word::Element elements[Word::kWordDepth * kLanes] = {};
  for (std::size_t deep = 0; deep < Word::kWordDepth; deep++) std::memcpy(elements + deep * kLanes, words + deep * depthStride, count * sizeof *elements);
  return Word::across(elements, kLanes);
}

/** Lines that are neighbours in memory, `width` of them or, at an edge, fewer. @returns the words that were packed. */
template <class Word, std::size_t width, bool isWhole>
std::size_t packAcross(const Lines& lines, std::size_t depth, float* panel) {
  const auto* data = static_cast<const typename Word::Element*>(lines.data);
  for (std::size_t at = 0; at < depth; at++) {
    const auto* from = data + at * Word::kWordDepth * lines.depthStride;
    float* to = panel + at * width;
    for (std::size_t ahead = 0; ahead < width * sizeof *from; ahead += 64) __builtin_prefetch(reinterpret_cast<const std::byte*>(from + kPackAhead * Word::kWordDepth * lines.depthStride) + ahead);
#pragma GCC unroll 4
    for (std::size_t line = 0; line < width; line += kLanes) {
      const std::size_t room = std::min(kLanes, width - line);
      const std::size_t present = isWhole ? room : lines.lines <= line ? 0 : std::min(room, lines.lines - line);
      const Floats words = present == kLanes ? Word::across(from + line, lines.depthStride) : acrossPart<Word>(from + line, lines.depthStride, present);
      std::memcpy(to + line, &words, room * sizeof *to);
    }
  }
  return depth;
}

template <class Word, std::size_t width>
void pack(const Lines& lines, float* panel) {
  const std::size_t whole = lines.depth / Word::kWordDepth;
  const std::size_t depth = (lines.depth + Word::kWordDepth - 1) / Word::kWordDepth;
  std::size_t at = 0;
  if (lines.depthStride == 1) {
    at = packAlong<Word, width>(lines, whole, panel);
  } else if (lines.lineStride == 1) {
    at = lines.lines == width ? packAcross<Word, width, true>(lines, whole, panel) : packAcross<Word, width, false>(lines, whole, panel);
  }
  const auto* data = static_cast<const typename Word::Element*>(lines.data);
  for (; at < depth; at++) {
    const auto* from = data + at * Word::kWordDepth * lines.depthStride;
    for (std::size_t line = 0; line < width; line++) {
      panel[at * width + line] = line < lines.lines ? Word::one(from + line * lines.lineStride, lines.depthStride, at < whole) : 0;
    }
  }
}

/** Adds what belongs to a vector of sums, and writes it. */
template <class Result>
[[gnu::always_inline]] inline void finish(Floats sum, const TileTarget& target, std::size_t row, std::size_t column, std::size_t count) {
  auto* result = static_cast<typename Result::Element*>(target.result) + row * target.resultStride + column;
  float* sums = target.sums + row * target.sumsStride + column;
  sum *= target.alpha;
  if (!target.isFirstDepth) {
    sum += load<F32>(sums, count);
  } else if (target.beta != 0) {
    sum += target.beta * load<Result>(result, count);
  }
  if (!target.isLastDepth) {
    store<F32>(sums, sum, count);
    return;
  }
  if (target.bias != nullptr) sum += load<F32>(target.bias + column, count);
  store<Result>(result, target.activation == MUSTER_IDENTITY ? sum : activate(target.activation, sum), count);
}

/** Sums with products of f32. */
struct F32Products {
  [[gnu::always_inline]] static Floats add(Floats sum, Floats row, Floats column) { return multiplyAdd(row, column, sum); }
};

#if defined(__AVX512BF16__)
/** Sums with products of pairs of bf16. */
struct Bf16PairProducts {
  [[gnu::always_inline]] static Floats add(Floats sum, Floats row, Floats column) {
    return reinterpret_cast<Floats>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(row), reinterpret_cast<__m512bh>(column)));
  }
};
#endif

/** The innermost loops: the sums of one tile, or of one at the result's edge. */
template <class Products, std::size_t rows, std::size_t vectors>
[[gnu::always_inline]] inline void sumUp(std::size_t depth, const Panel& left, const Panel& right, Floats (&sums)[rows][vectors]) {
  constexpr std::size_t lineBytes = 64;
  constexpr std::size_t lineWords = lineBytes / sizeof(float);
  const std::size_t nextStride = std::max(lineBytes, left.lineStride);
  const std::byte* row = left.data;
  const std::byte* column = right.data;
  for (std::size_t at = 0; at < depth; at += lineWords) {
    // Of the rows that come next, into the second cache: a cache line of each while as many words of these are used up.
    const std::byte* next = row + left.nextBytes;
#pragma GCC unroll 16
    for (std::size_t line = 0; line < rows; line++, next += nextStride) __builtin_prefetch(next, 0, 2);
    for (std::size_t word = std::min(depth, at + lineWords) - at; word > 0; word--) {
      Floats columns[vectors];
#pragma GCC unroll 4
      for (std::size_t vector = 0; vector < vectors; vector++) {
        __builtin_prefetch(column + kColumnsAhead * right.depthStride + vector * sizeof *columns);
        columns[vector] = loadVector<Floats>(column + vector * sizeof *columns);
      }
#pragma GCC unroll 16
      for (std::size_t line = 0; line < rows; line++) {
        const Floats one = splat(loadVector<float>(row + line * left.lineStride));
#pragma GCC unroll 4
        for (std::size_t vector = 0; vector < vectors; vector++) sums[line][vector] = Products::add(sums[line][vector], one, columns[vector]);
      }
      row += left.depthStride;
      column += right.depthStride;
    }
  }
}

/** A whole tile of f32 without an activation: nothing but its sums is ever held, and those in registers. */
template <class Products, std::size_t vectors>
void plainTile(std::size_t depth, const Panel& left, const Panel& right, const TileTarget& target) {
  Floats sums[kTileRows][vectors] = {};
  sumUp<Products>(depth, left, right, sums);
  const auto forEachSum = [&](auto&& body) __attribute__((always_inline)) {
#pragma GCC unroll 16
    for (std::size_t row = 0; row < kTileRows; row++) {
#pragma GCC unroll 4
      for (std::size_t vector = 0; vector < vectors; vector++) body(sums[row][vector], target.sums + row * target.sumsStride + vector * kLanes, vector);
    }
  };
  if (target.alpha != 1) forEachSum([&](Floats& sum, const float*, std::size_t) { sum *= target.alpha; });
  if (!target.isFirstDepth) {
    forEachSum([&](Floats& sum, const float* place, std::size_t) { sum += load<F32>(place); });
  } else if (target.beta != 0) {
    forEachSum([&](Floats& sum, const float* place, std::size_t) { sum += target.beta * load<F32>(place); });
  }
  if (target.isLastDepth && target.bias != nullptr) forEachSum([&](Floats& sum, const float*, std::size_t vector) { sum += load<F32>(target.bias + vector * kLanes); });
  forEachSum([&](Floats& sum, float* place, std::size_t) { store<F32>(place, sum); });
}

/** The sums of a part of a tile, in memory: rows of kTileColumns. */
template <class Products, std::size_t rows, std::size_t vectors>
void partSums(std::size_t depth, const Panel& left, const Panel& right, float* result) {
  Floats sums[rows][vectors] = {};
  sumUp<Products>(depth, left, right, sums);
#pragma GCC unroll 16
  for (std::size_t row = 0; row < rows; row++) {
#pragma GCC unroll 4
    for (std::size_t vector = 0; vector < vectors; vector++) storeVector(result + row * kTileColumns + vector * kLanes, sums[row][vector]);
  }
}

using PlainTile = void (*)(std::size_t, const Panel&, const Panel&, const TileTarget&);
using PartSums = void (*)(std::size_t, const Panel&, const Panel&, float*);

/** plainTile for every width in vectors, and partSums for every size of a part. */
template <class Products, class = std::make_index_sequence<kTileVectors>, class = std::make_index_sequence<kTileRows * kTileVectors>>
struct Tiles;
template <class Products, std::size_t... width, std::size_t... part>
struct Tiles<Products, std::index_sequence<width...>, std::index_sequence<part...>> {
  static constexpr PlainTile kPlain[] = {plainTile<Products, width + 1>...};
  static constexpr PartSums kParts[] = {partSums<Products, part / kTileVectors + 1, part % kTileVectors + 1>...};
};

template <class Products, class Result>
void tile(std::size_t depth, const Panel& left, const Panel& right, const TileTarget& target) {
  // The result's lines arrive while the sums are made. Not into the first cache: rows a power of two apart would drive each other out.
  for (std::size_t row = 0; row < target.rows; row++) {
    for (std::size_t column = 0; column < kTileColumns; column += 16) __builtin_prefetch(target.sums + row * target.sumsStride + column, 1, 2);
  }
  const std::size_t lastVector = (target.columns - 1) / kLanes;
  if constexpr (Result::kDtype == MUSTER_F32) {
    if (target.rows == kTileRows && target.columns % kLanes == 0 && target.activation == MUSTER_IDENTITY) {
      Tiles<Products>::kPlain[lastVector](depth, left, right, target);
      return;
    }
  }
  alignas(64) float sums[kTileRows][kTileColumns];
  Tiles<Products>::kParts[(target.rows - 1) * kTileVectors + lastVector](depth, left, right, &sums[0][0]);
  for (std::size_t row = 0; row < target.rows; row++) {
    forEachVector(target.columns, [&](std::size_t column, std::size_t count) { finish<Result>(loadVector<Floats>(&sums[row][column]), target, row, column, count); });
  }
}

template <class Word, class Products>
constexpr GemmKernel kWordKernel{kTileRows, kTileColumns, kLanes, Word::kWordDepth, Word::kRowsInPlace, Word::kColumnsInPlace,
                                 pack<Word, kTileRows>, pack<Word, kTileColumns>, {tile<Products, F32>, tile<Products, F16>, tile<Products, Bf16>}};

template <class Format>
constexpr GemmKernel kGemmKernel = kWordKernel<Widened<Format>, F32Products>;

}  // namespace
}  // namespace muster::kernels::lanes
