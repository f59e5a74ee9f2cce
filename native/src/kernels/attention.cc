/**
 * Attention, a block of queries and a block of keys after another. What it does: muster/attention.h.
 *
 * Forward, with b keys of a block: scores = queries * keys^T; each row's exponentials against the largest score so far, by which what was summed before is
 * corrected; results += exponentials * values. At the end results are divided by the sums of exponentials, whose logarithms are kept.
 * Backward, with D = the product of a row's result and gradient: shares = exp(scores - log sum); values' += shares^T * gradient;
 * slopes = shares * (gradient * values^T - D) * scale; queries' += slopes * keys; keys' += slopes^T * queries.
 *
 * 4 FLOPs for each visible score and number of a vector forward, 10 backward. Scores of a block stay in the second cache; memory sees vectors alone: queries and results once,
 * keys and values once for each block of queries. Units: forward a block of queries of one head, backward a head.
 *
 * Milliseconds forward and backward, causal, f32 on two cores of a Zen 5, and in brackets PyTorch 2.13:
 *   16 x 4 heads of 128 x 32      0.70  1.07   ( 2.2   4.6)
 *    4 x 8 heads of 512 x 64      5.5  10.5    (14.3  35.9)
 *    8 heads of 2048 x 64        17.8  36.3    (32.7  88.5)
 * Source: Dao 2023 (FlashAttention-2); Milakov and Gimelshein 2018.
 */
#include "muster/attention.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <utility>
#include <vector>

#include "kernels/check.h"
#include "kernels/layer-calls.h"
#include "kernels/pieces.h"
#include "kernels/table.h"
#include "kernels/workspace.h"
#include "muster/gemm.h"
#include "status.h"

namespace muster::kernels {
namespace {

/** Scores of a block: 64 KB, and as much again for what they become. */
constexpr std::size_t kBlockQueries = 64;
constexpr std::size_t kBlockKeys = 256;

thread_local Workspace workspace;

/** Part of a workspace. */
class Slices {
 public:
  explicit Slices(float* memory) : next_(memory) {}
  float* take(std::size_t floats) {
    constexpr std::size_t lineFloats = 16;
    float* const taken = next_;
    next_ += ceilDivide(floats, lineFloats) * lineFloats;
    return taken;
  }
  /** What `take` needs for all of these. */
  static std::size_t total(std::initializer_list<std::size_t> sizes) {
    std::size_t sum = 0;
    for (const std::size_t floats : sizes) sum += ceilDivide(floats, 16) * 16;
    return sum;
  }

 private:
  float* next_;
};

/** The vectors of one head. */
struct Vectors {
  Vectors(const muster_heads& heads, const muster_attention_shape& shape, std::size_t head, std::size_t count)
      : first(head / shape.heads * heads.batch_stride + head % shape.heads * heads.head_stride), rowStride(heads.row_stride), rows(count), width(shape.width), tensor(heads.tensor) {}

  void* at(std::size_t row) const { return elementAt(tensor, first + row * rowStride); }
  /** Some rows as a matrix of rows. */
  muster_matrices matrix(std::size_t row, std::size_t count) const { return {{at(row), (count - 1) * rowStride + width, tensor.dtype}, rowStride, 1, 0}; }

  std::size_t first;
  std::size_t rowStride;
  std::size_t rows;
  std::size_t width;
  muster_tensor tensor;
};

muster_matrices transposed(muster_matrices matrices) {
  std::swap(matrices.row_stride, matrices.column_stride);
  return matrices;
}

/** A block's own matrix, of kBlockKeys columns at most. */
muster_matrices blockMatrix(const void* data, muster_dtype dtype, std::size_t rows, std::size_t columns, std::size_t rowStride) {
  return {{const_cast<void*>(data), (rows - 1) * rowStride + columns, dtype}, rowStride, 1, 0};
}

/** On this thread: result = left * right, or with a `beta` of 1 added to it. @returns whether there was memory. */
bool multiply(std::size_t rows, std::size_t columns, std::size_t depth, const muster_matrices& left, const muster_matrices& right, const muster_matrices& result, float beta) {
  const muster_gemm_call call{1, rows, columns, depth, left, right, result, 1, beta, {nullptr, 0, MUSTER_F32}, MUSTER_IDENTITY};
  return muster_gemm(&call, 1) == MUSTER_OK;
}

/** Multiplies a row of f32. */
void scaleRow(float* row, std::size_t count, float factor) { table().unscale[MUSTER_F32](row, count, factor); }

/** Writes f32 in the vectors' dtype. */
void writeRow(const float* row, const Vectors& vectors, std::size_t index) {
  if (vectors.tensor.dtype == MUSTER_F32) {
    std::memcpy(vectors.at(index), row, vectors.width * sizeof *row);
  } else {
    table().convert[MUSTER_F32][vectors.tensor.dtype](row, vectors.at(index), vectors.width, false);
  }
}

/** @returns a row in f32: itself, or what `memory` holds then. */
const float* readRow(const Vectors& vectors, std::size_t index, float* memory) {
  if (vectors.tensor.dtype == MUSTER_F32) return static_cast<const float*>(vectors.at(index));
  table().convert[vectors.tensor.dtype][MUSTER_F32](vectors.at(index), memory, vectors.width, false);
  return memory;
}

/** How many of the keys query `query` sees. */
std::size_t visibleKeys(const muster_attention_shape& shape, std::size_t query) { return shape.causal != 0 ? query + 1 + (shape.keys - shape.queries) : shape.keys; }

/** Queries [first, first + count), and of them a block of keys. */
struct Block {
  std::size_t query;
  std::size_t queries;
  std::size_t key;
  std::size_t keys;

  /** Of row `row`'s keys those that it sees, which are the first ones. */
  std::size_t visible(const muster_attention_shape& shape, std::size_t row) const {
    const std::size_t visible = visibleKeys(shape, query + row);
    return visible <= key ? 0 : std::min(keys, visible - key);
  }
};

/** Calls `body(block)` for the blocks of keys that some of the queries see, until one answers false. */
template <class Body>
bool forEachBlock(const muster_attention_shape& shape, std::size_t query, std::size_t queries, Body body) {
  const std::size_t visible = visibleKeys(shape, query + queries - 1);
  for (std::size_t key = 0; key < visible; key += kBlockKeys) {
    if (!body(Block{query, queries, key, std::min(kBlockKeys, visible - key)})) return false;
  }
  return true;
}

/** Row `row` of a block's matrix. */
void* rowOf(void* matrix, muster_dtype dtype, std::size_t row) { return static_cast<std::byte*>(matrix) + row * kBlockKeys * elementBytes(dtype); }

void clearRow(void* matrix, muster_dtype dtype, std::size_t row, std::size_t from, std::size_t to) {
  std::memset(static_cast<std::byte*>(rowOf(matrix, dtype, row)) + from * elementBytes(dtype), 0, (to - from) * elementBytes(dtype));
}

struct Forward {
  Vectors query;
  Vectors key;
  Vectors value;
  Vectors result;
  float* logSums;
};

/** One block of queries of one head. */
bool attend(const muster_attention_shape& shape, const Forward& head, std::size_t query, std::size_t queries) {
  const muster_dtype dtype = head.query.tensor.dtype;
  constexpr std::size_t blockFloats = kBlockQueries * kBlockKeys;
  const std::size_t sumFloats = kBlockQueries * shape.width;
  float* const memory = workspace.reserve(Slices::total({blockFloats, blockFloats, sumFloats}));
  if (memory == nullptr) return false;
  Slices slices(memory);
  float* const scores = slices.take(blockFloats);
  void* const powers = dtype == MUSTER_F32 ? scores : slices.take(blockFloats);
  float* const sums = slices.take(sumFloats);
  SoftmaxParts parts[kBlockQueries];
  std::fill_n(parts, queries, SoftmaxParts{-HUGE_VALF, 0});
  const bool done = forEachBlock(shape, query, queries, [&](const Block& block) {
    if (!multiply(queries, block.keys, shape.width, head.query.matrix(query, queries), transposed(head.key.matrix(block.key, block.keys)),
                  blockMatrix(scores, MUSTER_F32, queries, block.keys, kBlockKeys), 0)) {
      return false;
    }
    for (std::size_t row = 0; row < queries; row++) {
      const std::size_t visible = block.visible(shape, row);
      clearRow(powers, dtype, row, visible, block.keys);
      if (visible == 0) continue;
      const SoftmaxParts found = table().layers[dtype].powers(scores + row * kBlockKeys, rowOf(powers, dtype, row), shape.scale, parts[row].largest, visible);
      const float correction = block.key == 0 ? 0 : std::exp(parts[row].largest - found.largest);
      if (block.key > 0 && correction != 1) scaleRow(sums + row * shape.width, shape.width, correction);
      parts[row] = {found.largest, (block.key == 0 ? 0 : parts[row].sum * correction) + found.sum};
    }
    return multiply(queries, shape.width, block.keys, blockMatrix(powers, dtype, queries, block.keys, kBlockKeys), head.value.matrix(block.key, block.keys),
                    blockMatrix(sums, MUSTER_F32, queries, shape.width, shape.width), block.key == 0 ? 0 : 1);
  });
  for (std::size_t row = 0; done && row < queries; row++) {
    scaleRow(sums + row * shape.width, shape.width, 1 / parts[row].sum);
    writeRow(sums + row * shape.width, head.result, query + row);
    head.logSums[query + row] = parts[row].largest + std::log(parts[row].sum);
  }
  return done;
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

/** The sum of the products of two vectors. */
float productOf(const float* first, const float* second, std::size_t count) {
  float sum = 0;
  for (std::size_t index = 0; index < count; index++) sum += first[index] * second[index];
  return sum;
}

/** A thread's memory for the backward pass of a head. */
struct BackwardMemory {
  BackwardMemory(const muster_attention_shape& shape, float* memory) {
    Slices slices(memory);
    scores = slices.take(kBlockQueries * kBlockKeys);
    slopes = slices.take(kBlockQueries * kBlockKeys);
    halfScores = slices.take(kBlockQueries * kBlockKeys);
    halfSlopes = slices.take(kBlockQueries * kBlockKeys);
    queryGradient = slices.take(kBlockQueries * shape.width);
    keyGradient = slices.take(shape.keys * shape.width);
    valueGradient = slices.take(shape.keys * shape.width);
    rows = slices.take(2 * shape.width);
  }
  static std::size_t floats(const muster_attention_shape& shape) {
    constexpr std::size_t blockFloats = kBlockQueries * kBlockKeys;
    const std::size_t keyFloats = shape.keys * shape.width;
    return Slices::total({blockFloats, blockFloats, blockFloats, blockFloats, kBlockQueries * shape.width, keyFloats, keyFloats, 2 * shape.width});
  }

  float* scores;
  float* slopes;
  /** Where both lie in 16 bits. */
  float* halfScores;
  float* halfSlopes;
  float* queryGradient;
  float* keyGradient;
  float* valueGradient;
  float* rows;
};

/** What one block of queries and one of keys add to the gradients. @param products of each query's result and gradient. */
bool attendBlockBackward(const muster_attention_shape& shape, const Backward& head, const Block& block, const float* products, const BackwardMemory& memory) {
  const muster_dtype dtype = head.query.tensor.dtype;
  void* const shares = dtype == MUSTER_F32 ? memory.scores : memory.halfScores;
  void* const slopes = dtype == MUSTER_F32 ? memory.slopes : memory.halfSlopes;
  const muster_matrices query = head.query.matrix(block.query, block.queries), key = head.key.matrix(block.key, block.keys);
  const muster_matrices value = head.value.matrix(block.key, block.keys), gradient = head.gradient.matrix(block.query, block.queries);
  const auto blockOf = [&](const void* data, muster_dtype of) { return blockMatrix(data, of, block.queries, block.keys, kBlockKeys); };
  const auto sumsOf = [&](float* data, std::size_t rows) { return blockMatrix(data, MUSTER_F32, rows, shape.width, shape.width); };
  if (!multiply(block.queries, block.keys, shape.width, query, transposed(key), blockOf(memory.scores, MUSTER_F32), 0)) return false;
  if (!multiply(block.queries, block.keys, shape.width, gradient, transposed(value), blockOf(memory.slopes, MUSTER_F32), 0)) return false;
  for (std::size_t row = 0; row < block.queries; row++) {
    const std::size_t visible = block.visible(shape, row);
    const ScoreRow known{shape.scale, head.logSums[block.query + row], products[row]};
    table().layers[dtype].powersBackward(memory.scores + row * kBlockKeys, memory.slopes + row * kBlockKeys, rowOf(shares, dtype, row), rowOf(slopes, dtype, row), known, visible);
    clearRow(shares, dtype, row, visible, block.keys);
    clearRow(slopes, dtype, row, visible, block.keys);
  }
  float* const keySums = memory.keyGradient + block.key * shape.width;
  float* const valueSums = memory.valueGradient + block.key * shape.width;
  return multiply(block.keys, shape.width, block.queries, transposed(blockOf(shares, dtype)), gradient, sumsOf(valueSums, block.keys), 1) &&
         multiply(block.keys, shape.width, block.queries, transposed(blockOf(slopes, dtype)), query, sumsOf(keySums, block.keys), 1) &&
         multiply(block.queries, shape.width, block.keys, blockOf(slopes, dtype), key, sumsOf(memory.queryGradient, block.queries), block.key == 0 ? 0 : 1);
}

bool attendBackward(const muster_attention_shape& shape, const Backward& head) {
  float* const floats = workspace.reserve(BackwardMemory::floats(shape));
  if (floats == nullptr) return false;
  const BackwardMemory memory(shape, floats);
  std::fill_n(memory.keyGradient, shape.keys * shape.width, 0.0f);
  std::fill_n(memory.valueGradient, shape.keys * shape.width, 0.0f);
  for (std::size_t query = 0; query < shape.queries; query += kBlockQueries) {
    const std::size_t queries = std::min<std::size_t>(kBlockQueries, shape.queries - query);
    float products[kBlockQueries];
    for (std::size_t row = 0; row < queries; row++) {
      products[row] = productOf(readRow(head.result, query + row, memory.rows), readRow(head.gradient, query + row, memory.rows + shape.width), shape.width);
    }
    if (!forEachBlock(shape, query, queries, [&](const Block& block) { return attendBlockBackward(shape, head, block, products, memory); })) return false;
    for (std::size_t row = 0; row < queries; row++) writeRow(memory.queryGradient + row * shape.width, head.queryGradient, query + row);
  }
  for (std::size_t key = 0; key < shape.keys; key++) {
    writeRow(memory.keyGradient + key * shape.width, head.keyGradient, key);
    writeRow(memory.valueGradient + key * shape.width, head.valueGradient, key);
  }
  return true;
}

/** Calls `body(unit)` for all units. @returns a failure where one of them answered false. */
template <class Body>
muster_code forEachUnit(std::uint32_t threads, std::size_t units, Body body) {
  return parallelUntilFailure(threadCount(threads), units, body) ? MUSTER_OK : MUSTER_FAIL(MUSTER_SYSTEM_ERROR, ENOMEM, "no memory for a block of attention");
}

}  // namespace
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_attention(const muster_attention_call* call, uint32_t threads) {
  const muster_attention_shape& shape = call->shape;
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkAttention(*call); code != MUSTER_OK) return code;
  const std::size_t blocks = ceilDivide(shape.queries, kBlockQueries);
  return forEachUnit(threads, shape.batches * shape.heads * blocks, [&](std::size_t unit) {
    const std::size_t head = unit / blocks;
    const std::size_t query = unit % blocks * kBlockQueries;
    const auto vectors = [&](const muster_heads& heads, std::size_t rows) { return Vectors(heads, shape, head, rows); };
    const Forward forward{vectors(call->query, shape.queries), vectors(call->key, shape.keys), vectors(call->value, shape.keys), vectors(call->result, shape.queries),
                          static_cast<float*>(call->log_sums.data) + head * shape.queries};
    return attend(shape, forward, query, std::min<std::size_t>(kBlockQueries, shape.queries - query));
  });
}

muster_code muster_attention_backward(const muster_attention_backward_call* call, uint32_t threads) {
  const muster_attention_shape& shape = call->shape;
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  if (const muster_code code = checkAttentionBackward(*call); code != MUSTER_OK) return code;
  return forEachUnit(threads, shape.batches * shape.heads, [&](std::size_t head) {
    const auto vectors = [&](const muster_heads& heads, std::size_t rows) { return Vectors(heads, shape, head, rows); };
    return attendBackward(shape, {vectors(call->query, shape.queries), vectors(call->key, shape.keys), vectors(call->value, shape.keys), vectors(call->result, shape.queries),
                                  static_cast<const float*>(call->log_sums.data) + head * shape.queries, vectors(call->gradient, shape.queries),
                                  vectors(call->query_gradient, shape.queries), vectors(call->key_gradient, shape.keys), vectors(call->value_gradient, shape.keys)});
  });
}
