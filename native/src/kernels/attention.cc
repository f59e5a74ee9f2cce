/**
 * Attention, a block of queries and a block of keys after another. What it does: muster/attention.h.
 *
 * Forward, with b keys of a block: scores = queries * keys^T; each row's exponentials against the largest score so far, by which what was summed before is
 * corrected; results += exponentials * values. At the end results are divided by the sums of exponentials, whose logarithms are kept.
 * Backward, with D = the product of a row's result and gradient: shares = exp(scores - log sum); values' += shares^T * gradient;
 * slopes = shares * (gradient * values^T - D) * scale; queries' += slopes * keys; keys' += slopes^T * queries.
 *
 * Scores lie key after key: queries are packed as columns, once for all their keys, and keys are rows that tiles read where they lie, as they read shares and slopes for
 * every other product. What a tile's queries do not see is not multiplied. 16 bits: keys and queries meet as they are where the machine multiplies pairs of them;
 * all else is widened first, a block at a time, and rounded once.
 *
 * 4 FLOPs for each visible score and number of a vector forward, 10 backward. Scores of a block stay in the second cache; memory sees vectors alone: queries and results once,
 * keys and values once for each block of queries. Sums of f32 are made in the results themselves. Units: forward a block of queries of one head, backward a head.
 *
 * Milliseconds forward and backward, causal, f32 on two cores of a Zen 5, and in brackets PyTorch 2.13:
 *   16 x 4 heads of 128 x 32      0.38  0.80   ( 2.2   4.9)
 *    4 x 8 heads of 512 x 64      4.3  10.1    (15.2  38.7)
 *    8 heads of 2048 x 64        15.6  36.2    (34.1  86.1)
 * Source: Dao 2023 (FlashAttention-2); Milakov and Gimelshein 2018.
 */
#include "muster/attention.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "kernels/check.h"
#include "kernels/layer-calls.h"
#include "kernels/pieces.h"
#include "kernels/table.h"
#include "kernels/workspace.h"
#include "status.h"

namespace muster::kernels {
namespace {

/** Whole tiles of every instruction set, which have 48, 16, 12 or 4 columns. */
constexpr std::size_t kBlockQueries = 96;
/** Scores of a block: 96 KB, and as much again for their gradients. */
constexpr std::size_t kBlockKeys = 256;

thread_local Workspace workspace;

/** Of all products but the scores'. */
const GemmKernel& kernel() { return *table().gemm[MUSTER_F32]; }

/** Of keys * queries^T and values * gradients^T: that of their own dtype if it reads rows where these lie, as AVX512-BF16 does two at a time; or that of f32, for copies. */
const GemmKernel& scoreKernel(muster_dtype dtype, std::size_t width) {
  const GemmKernel& own = *table().gemm[dtype];
  return own.rowsInPlace && width % own.wordDepth == 0 ? own : kernel();
}

std::size_t roundUp(std::size_t value, std::size_t multiple) { return ceilDivide(value, multiple) * multiple; }

/** Takes pieces of a thread's memory, or without any only counts them. */
class Slices {
 public:
  explicit Slices(float* memory) : memory_(memory) {}
  float* take(std::size_t floats) {
    constexpr std::size_t lineFloats = 16;
    const std::size_t at = floats_;
    floats_ += roundUp(floats, lineFloats);
    return memory_ == nullptr ? nullptr : memory_ + at;
  }
  std::size_t floats() const { return floats_; }

 private:
  float* memory_;
  std::size_t floats_ = 0;
};

/** The vectors of one head. */
struct Vectors {
  Vectors(const muster_heads& heads, const muster_attention_shape& shape, std::size_t head)
      : first(head / shape.heads * heads.batch_stride + head % shape.heads * heads.head_stride), rowStride(heads.row_stride), width(shape.width), tensor(heads.tensor) {}

  void* at(std::size_t row) const { return elementAt(tensor, first + row * rowStride); }

  std::size_t first;
  std::size_t rowStride;
  std::size_t width;
  muster_tensor tensor;
};

/** A panel of f32, whose strides are floats here. */
Panel panelOf(const float* data, std::size_t lineStride, std::size_t depthStride, std::size_t next) {
  constexpr std::size_t bytes = sizeof *data;
  return {reinterpret_cast<const std::byte*>(data), lineStride * bytes, depthStride * bytes, next * bytes};
}

/** Rows of f32. */
struct Rows {
  float* at(std::size_t row) const { return data + row * stride; }
  /** As a product's right side, whose depth begins at a row, in panels of so many columns. */
  Panel columns(std::size_t row, std::size_t panelColumns) const { return panelOf(at(row), 1, stride, panelColumns); }

  float* data;
  std::size_t stride;
};

/** The columns of panels as wide as each other that tiles make of vectors: a narrow last one would make less of a core. */
std::size_t evenColumns(std::size_t width) {
  const std::size_t vectors = ceilDivide(width, kernel().lanes);
  return ceilDivide(vectors, ceilDivide(width, kernel().tileColumns)) * kernel().lanes;
}

/** Floats from a copied vector to the next: whole vectors of the instruction set. */
std::size_t copyStride(std::size_t width) { return roundUp(width, kernel().lanes); }

/** Some vectors as tiles read them: where they are if that is in whole vectors of f32, and otherwise a copy in `memory`. */
Rows inputRows(const Vectors& vectors, std::size_t first, std::size_t count, float* memory) {
  const muster_dtype dtype = vectors.tensor.dtype;
  const std::size_t stride = copyStride(vectors.width);
  if (dtype == MUSTER_F32 && stride == vectors.width) return {static_cast<float*>(vectors.at(first)), vectors.rowStride};
  for (std::size_t row = 0; row < count; row++) {
    float* const copy = memory + row * stride;
    if (dtype == MUSTER_F32) {
      std::memcpy(copy, vectors.at(first + row), vectors.width * sizeof *copy);
    } else {
      table().convert[dtype][MUSTER_F32](vectors.at(first + row), copy, vectors.width, false);
    }
    std::fill(copy + vectors.width, copy + stride, 0.0f);
  }
  return {memory, stride};
}

/** Where sums of some vectors are made: in these themselves if they are f32, and otherwise in `memory`. */
Rows sumRows(const Vectors& vectors, std::size_t first, float* memory) {
  if (vectors.tensor.dtype == MUSTER_F32) return {static_cast<float*>(vectors.at(first)), vectors.rowStride};
  return {memory, vectors.width};
}

/** Rounds sums that were made in memory. */
void writeSums(const Rows& sums, const Vectors& vectors, std::size_t first, std::size_t count) {
  const muster_dtype dtype = vectors.tensor.dtype;
  if (dtype == MUSTER_F32) return;
  for (std::size_t row = 0; row < count; row++) table().convert[MUSTER_F32][dtype](sums.at(row), vectors.at(first + row), vectors.width, false);
}

/** One side of the scores' products. */
struct ScoreLines {
  ScoreLines(const Vectors& vectors, std::size_t first, std::size_t count, float* copies)
      : tiles(scoreKernel(vectors.tensor.dtype, vectors.width)), lines{vectors.at(first), vectors.rowStride, 1, count, vectors.width} {
    if (&tiles == table().gemm[vectors.tensor.dtype]) return;
    const Rows rows = inputRows(vectors, first, count, copies);
    lines.data = rows.data;
    lines.lineStride = rows.stride;
  }

  std::size_t lineBytes() const { return lines.lineStride * sizeof(float) / tiles.wordDepth; }
  std::size_t words() const { return lines.depth / tiles.wordDepth; }
  const std::byte* at(std::size_t line) const { return static_cast<const std::byte*>(lines.data) + line * lineBytes(); }

  /** As rows, from one on. */
  Panel rows(std::size_t line) const { return {at(line), lineBytes(), sizeof(float), tiles.tileRows * lineBytes()}; }

  /** As columns. */
  Panel pack(float* packed) const {
    for (std::size_t line = 0; line < lines.lines; line += tiles.tileColumns) {
      tiles.packColumns({at(line), lines.lineStride, 1, std::min(tiles.tileColumns, lines.lines - line), lines.depth}, packed + line * words());
    }
    return panelOf(packed, 1, tiles.tileColumns, tiles.tileColumns * words());
  }

  const GemmKernel& tiles;
  Lines lines;
};

/** How many of the keys query `query` sees. */
std::size_t visibleKeys(const muster_attention_shape& shape, std::size_t query) { return shape.causal != 0 ? query + 1 + (shape.keys - shape.queries) : shape.keys; }

/** Some queries, and of what they see some keys. */
struct Block {
  std::size_t query;
  std::size_t queries;
  std::size_t key;
  std::size_t keys;
};

/** Calls `body(block)` for the blocks of keys that some of the queries see, which end with a whole panel of rows if there are so many keys. */
template <class Body>
void forEachBlock(const muster_attention_shape& shape, std::size_t query, std::size_t queries, Body body) {
  const std::size_t visible = visibleKeys(shape, query + queries - 1);
  for (std::size_t key = 0; key < visible; key += kBlockKeys) {
    body(Block{query, queries, key, std::min({kBlockKeys, roundUp(visible - key, kernel().tileRows), shape.keys - key})});
  }
}

/** A block's scores, or what becomes of them, in `memory`. */
ScoreBlock scoresOf(const muster_attention_shape& shape, const Block& block, float* memory) {
  const auto place = [](std::size_t index) { return static_cast<std::ptrdiff_t>(index); };
  const std::ptrdiff_t lag = shape.causal != 0 ? place(block.key) - place(block.query) - place(shape.keys - shape.queries) : -place(block.keys);
  return {memory, block.keys, roundUp(block.queries, kernel().lanes), kBlockQueries, lag, shape.scale};
}

/** Multiplies keys with packed queries where some of a tile see each other. */
void multiplyScores(const ScoreBlock& scores, const ScoreLines& keys, const Panel& queries, float* result) {
  const GemmKernel& tiles = keys.tiles;
  for (std::size_t key = 0; key < scores.keys; key += tiles.tileRows) {
    const std::size_t first = scores.firstThatSees(key) / tiles.lanes * tiles.lanes;
    multiplyPanel(tiles, {std::min(tiles.tileRows, scores.keys - key), first, scores.queries, keys.words(), keys.rows(key), queries, tiles.tileColumns, result + key * scores.stride,
                          scores.stride, false});
  }
}

/** Adds vectors of keys to the sums of queries, in proportion to their shares, which lie like the scores. */
void addToQueries(const ScoreBlock& scores, const float* shares, const Rows& keys, std::size_t width, const Rows& sums, std::size_t queries, bool adds) {
  const GemmKernel& tiles = kernel();
  const std::size_t columns = evenColumns(width);
  for (std::size_t query = 0; query < queries; query += tiles.tileRows) {
    const std::size_t count = std::min(tiles.tileRows, queries - query);
    const Panel left = panelOf(shares + query, 1, scores.stride, tiles.tileRows);
    multiplyPanel(tiles, {count, 0, width, scores.seenBy(query + count - 1), left, keys.columns(0, columns), columns, sums.at(query), sums.stride, adds});
  }
}

/** The same the other way: vectors of queries to the sums of keys, the first `added` of which hold something already. */
void addToKeys(const ScoreBlock& scores, const float* shares, const Rows& queries, std::size_t count, std::size_t width, const Rows& sums, std::size_t added) {
  const GemmKernel& tiles = kernel();
  const std::size_t columns = evenColumns(width);
  for (std::size_t key = 0; key < scores.keys; key += tiles.tileRows) {
    const std::size_t first = scores.firstThatSees(key);
    const Panel left = panelOf(shares + key * scores.stride + first, scores.stride, 1, tiles.tileRows * scores.stride);
    multiplyPanel(tiles, {std::min(tiles.tileRows, scores.keys - key), 0, width, count - first, left, queries.columns(first, columns), columns, sums.at(key), sums.stride, key < added});
  }
}

struct Forward {
  Vectors query;
  Vectors key;
  Vectors value;
  Vectors result;
  float* logSums;
};

struct ForwardMemory {
  ForwardMemory(const muster_attention_shape& shape, Slices& slices)
      : scores(slices.take(kBlockQueries * kBlockKeys)),
        packed(slices.take(kBlockQueries * shape.width)),
        queries(slices.take(kBlockQueries * copyStride(shape.width))),
        keys(slices.take(kBlockKeys * copyStride(shape.width))),
        values(slices.take(kBlockKeys * copyStride(shape.width))),
        results(slices.take(kBlockQueries * shape.width)) {}

  float* scores;
  float* packed;
  /** Copies, where there must be some. */
  float* queries;
  float* keys;
  float* values;
  float* results;
};

/** One block of queries of one head. */
void attend(const muster_attention_shape& shape, const Forward& head, std::size_t query, std::size_t queries, const ForwardMemory& memory) {
  float largest[kBlockQueries], sums[kBlockQueries] = {}, corrections[kBlockQueries];
  std::fill_n(largest, kBlockQueries, -HUGE_VALF);
  const Panel packed = ScoreLines(head.query, query, queries, memory.queries).pack(memory.packed);
  const Rows results = sumRows(head.result, query, memory.results);
  forEachBlock(shape, query, queries, [&](const Block& block) {
    const ScoreBlock scores = scoresOf(shape, block, memory.scores);
    multiplyScores(scores, ScoreLines(head.key, block.key, block.keys, memory.keys), packed, memory.scores);
    table().powers(scores, {largest, sums, corrections});
    if (block.key > 0) table().scaleRows(results.data, results.stride, shape.width, corrections, queries);
    addToQueries(scores, memory.scores, inputRows(head.value, block.key, block.keys, memory.values), shape.width, results, queries, block.key > 0);
  });
  float factors[kBlockQueries];
  for (std::size_t row = 0; row < queries; row++) {
    factors[row] = 1 / sums[row];
    head.logSums[query + row] = largest[row] + std::log(sums[row]);
  }
  table().scaleRows(results.data, results.stride, shape.width, factors, queries);
  writeSums(results, head.result, query, queries);
}

struct Backward {
  Vectors query;
  Vectors key;
  Vectors value;
  Vectors result;
  const float* logSums;
  Vectors gradient;
  Vectors queryGradient;
  Vectors keyGradient;
  Vectors valueGradient;
};

struct BackwardMemory {
  BackwardMemory(const muster_attention_shape& shape, Slices& slices)
      : shares(slices.take(kBlockQueries * kBlockKeys)),
        slopes(slices.take(kBlockQueries * kBlockKeys)),
        packedQueries(slices.take(kBlockQueries * shape.width)),
        packedGradients(slices.take(kBlockQueries * shape.width)),
        queries(slices.take(kBlockQueries * copyStride(shape.width))),
        gradients(slices.take(kBlockQueries * copyStride(shape.width))),
        keys(slices.take(kBlockKeys * copyStride(shape.width))),
        values(slices.take(kBlockKeys * copyStride(shape.width))),
        queryGradients(slices.take(kBlockQueries * shape.width)),
        keyGradients(slices.take(shape.keys * shape.width)),
        valueGradients(slices.take(shape.keys * shape.width)) {}

  /** First the scores. */
  float* shares;
  /** First the shares' gradients. */
  float* slopes;
  float* packedQueries;
  float* packedGradients;
  /** Copies, where there must be some. */
  float* queries;
  float* gradients;
  float* keys;
  float* values;
  float* queryGradients;
  float* keyGradients;
  float* valueGradients;
};

/** What one block of queries adds to the gradients of a head. */
void attendBackward(const muster_attention_shape& shape, const Backward& head, std::size_t query, std::size_t queries, const BackwardMemory& memory) {
  float logSums[kBlockQueries] = {}, products[kBlockQueries] = {};
  for (std::size_t row = 0; row < queries; row++) {
    logSums[row] = head.logSums[query + row];
    products[row] = table().layers[head.query.tensor.dtype].product(head.result.at(query + row), head.gradient.at(query + row), shape.width);
  }
  const Rows queryRows = inputRows(head.query, query, queries, memory.queries);
  const Rows gradientRows = inputRows(head.gradient, query, queries, memory.gradients);
  const Panel packedQueries = ScoreLines(head.query, query, queries, memory.queries).pack(memory.packedQueries);
  const Panel packedGradients = ScoreLines(head.gradient, query, queries, memory.gradients).pack(memory.packedGradients);
  const Rows queryGradients = sumRows(head.queryGradient, query, memory.queryGradients);
  forEachBlock(shape, query, queries, [&](const Block& block) {
    const ScoreBlock scores = scoresOf(shape, block, memory.shares);
    const Rows keyRows = inputRows(head.key, block.key, block.keys, memory.keys);
    multiplyScores(scores, ScoreLines(head.key, block.key, block.keys, memory.keys), packedQueries, memory.shares);
    multiplyScores(scores, ScoreLines(head.value, block.key, block.keys, memory.values), packedGradients, memory.slopes);
    table().slopes(scores, {logSums, products, memory.slopes});
    // Queries before these have begun the sums of the keys that they saw: the others hold what nobody wrote.
    const std::size_t seenBefore = query == 0 ? 0 : visibleKeys(shape, query - 1);
    const std::size_t added = seenBefore > block.key ? seenBefore - block.key : 0;
    addToKeys(scores, memory.shares, gradientRows, queries, shape.width, sumRows(head.valueGradient, block.key, memory.valueGradients + block.key * shape.width), added);
    addToKeys(scores, memory.slopes, queryRows, queries, shape.width, sumRows(head.keyGradient, block.key, memory.keyGradients + block.key * shape.width), added);
    addToQueries(scores, memory.slopes, keyRows, shape.width, queryGradients, queries, block.key > 0);
  });
  writeSums(queryGradients, head.queryGradient, query, queries);
}

/** All of a head's gradients: without queries, nothing else writes those of its keys and values. */
void attendHeadBackward(const muster_attention_shape& shape, const Backward& head, const BackwardMemory& memory) {
  for (std::size_t query = 0; query < shape.queries; query += kBlockQueries) {
    attendBackward(shape, head, query, std::min<std::size_t>(kBlockQueries, shape.queries - query), memory);
  }
  const Rows keySums = sumRows(head.keyGradient, 0, memory.keyGradients), valueSums = sumRows(head.valueGradient, 0, memory.valueGradients);
  for (std::size_t key = 0; shape.queries == 0 && key < shape.keys; key++) {
    std::fill_n(keySums.at(key), shape.width, 0.0f);
    std::fill_n(valueSums.at(key), shape.width, 0.0f);
  }
  writeSums(keySums, head.keyGradient, 0, shape.keys);
  writeSums(valueSums, head.valueGradient, 0, shape.keys);
}

/** Calls `body(unit, memory)` for all units. */
template <class Memory, class Body>
muster_code forEachUnit(std::uint32_t threads, const muster_attention_shape& shape, std::size_t units, Body body) {
  const bool done = parallelUntilFailure(threadCount(threads), units, [&](std::size_t unit) {
    Slices counted(nullptr);
    Memory(shape, counted);
    float* const floats = workspace.reserve(counted.floats());
    if (floats == nullptr) return false;
    Slices slices(floats);
    body(unit, Memory(shape, slices));
    return true;
  });
  return done ? MUSTER_OK : MUSTER_FAIL(MUSTER_SYSTEM_ERROR, ENOMEM, "no memory for a block of attention");
}

}  // namespace
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_attention(const muster_attention_call* call, uint32_t threads) {
  const muster_attention_shape& shape = call->shape;
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkAttention(*call); code != MUSTER_OK) return code;
  const std::size_t blocks = ceilDivide(shape.queries, kBlockQueries);
  return forEachUnit<ForwardMemory>(threads, shape, shape.batches * shape.heads * blocks, [&](std::size_t unit, const ForwardMemory& memory) {
    const std::size_t head = unit / blocks;
    const std::size_t query = unit % blocks * kBlockQueries;
    const auto vectors = [&](const muster_heads& heads) { return Vectors(heads, shape, head); };
    const Forward forward{vectors(call->query), vectors(call->key), vectors(call->value), vectors(call->result), static_cast<float*>(call->log_sums.data) + head * shape.queries};
    attend(shape, forward, query, std::min<std::size_t>(kBlockQueries, shape.queries - query), memory);
  });
}

muster_code muster_attention_backward(const muster_attention_backward_call* call, uint32_t threads) {
  const muster_attention_shape& shape = call->shape;
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkAttentionBackward(*call); code != MUSTER_OK) return code;
  return forEachUnit<BackwardMemory>(threads, shape, shape.batches * shape.heads, [&](std::size_t head, const BackwardMemory& memory) {
    const auto vectors = [&](const muster_heads& heads) { return Vectors(heads, shape, head); };
    const Backward backward{vectors(call->query), vectors(call->key), vectors(call->value), vectors(call->result), static_cast<const float*>(call->log_sums.data) + head * shape.queries,
                            vectors(call->gradient), vectors(call->query_gradient), vectors(call->key_gradient), vectors(call->value_gradient)};
    attendHeadBackward(shape, backward, memory);
  });
}
