/**
 * Attention of f16 and bf16 on tensor cores, without its matrix of scores. A block of 4 warps owns 64 queries, 16 a warp, and goes through the tiles of keys and values that they see, which come
 * by cp.async while the tile before is used. Scores stay in registers: where mma leaves its sums is where it wants its left input, so that exponentials, rounded to 16 bits, meet the values at once.
 * Backward a block makes its queries' gradients in the same way, and then a block of 64 keys, that goes through the queries, those of key and value. Both compute the shares again from the sums' logarithms,
 * 7 products where 5 would do if blocks added to one gradient: so there are no atomics, and the same call gives the same bits.
 * 4 FLOPs for each visible score and number of a vector forward, 14 backward. A block reads all keys and values that it sees, from the second cache: 4 bytes for 256 FLOPs.
 * Vectors of up to 64 numbers take 64 numbers' work, longer ones 128's.
 * Versions: attention.cu (a warp for each query, on multiply-adds); this; wgmma with TMA and warps that do nothing but copy (FlashAttention-3) would be next on Hopper.
 * Source: Dao 2023 (FlashAttention-2). CPU reference: src/kernels/attention.cc.
 */
#include "attention.cuh"
#include "reduce.cuh"

namespace muster::cuda {
namespace {

constexpr unsigned kWarps = 4;
constexpr unsigned kThreads = kWarps * kWarp;
/** Of an mma's left input, and so of a warp. */
constexpr unsigned kWarpRows = 16;
/** Queries of a block; keys, where it makes their gradients. */
constexpr unsigned kOwnRows = kWarps * kWarpRows;
/** Elements of 16 bytes: of a copy, and of a row's padding, with which the 8 rows of each ldmatrix fall into different banks. */
constexpr unsigned kVectorElements = 8;
constexpr unsigned kStages = 2;
constexpr float kLog2OfE = 1.44269504f;
constexpr float kLnOf2 = 0.693147181f;

template <unsigned width>
constexpr unsigned kPitch = width + kVectorElements;

/** Rows of the tiles that a block goes through: forward, and backward, where more has to stay in registers. */
constexpr unsigned kForwardRows = 64;
template <unsigned width>
constexpr unsigned kBackwardRows = width == 64 ? 64 : 32;

/** A lane's part of a product of 16 rows and some columns: of each 8 columns (g, 2t), (g, 2t + 1), (g + 8, 2t) and (g + 8, 2t + 1), with g = lane / 4 and t = lane % 4. */
template <unsigned columns>
using Sums = float[columns / 8][4];

__device__ __forceinline__ unsigned laneRow(unsigned index) { return threadIdx.x % kWarp / 4 + index / 2 * 8; }
__device__ __forceinline__ unsigned laneColumn(unsigned block, unsigned index) { return block * 8 + threadIdx.x % 4 * 2 + index % 2; }

/** Of the four lanes that have a row. */
template <class Combine>
__device__ __forceinline__ float reduceRow(float value, Combine combine) {
  value = combine(value, shuffleXor(value, 1));
  return combine(value, shuffleXor(value, 2));
}

/** Begins to copy rows of a head into a tile; what is outside of them, or of their width, is zeros. */
template <unsigned width, unsigned rows, class Format>
__device__ __forceinline__ void bringRows(const Vectors<Format>& vectors, const muster_attention_shape& shape, std::uint64_t head, std::uint64_t first, std::uint64_t end, std::uint16_t* tile) {
  constexpr unsigned rowVectors = width / kVectorElements;
  const auto* const from = vectors.row(shape, head, 0);
#pragma unroll
  for (unsigned own = 0; own < rows * rowVectors / kThreads; own++) {
    const unsigned index = own * kThreads + threadIdx.x;
    const unsigned row = index / rowVectors;
    const unsigned at = index % rowVectors * kVectorElements;
    const bool isInside = first + row < end && at < shape.width;
    copyAsync16(tile + row * kPitch<width> + at, from + (isInside ? (first + row) * vectors.rowStride + at : 0), isInside ? 16 : 0);
  }
}

/** Calls use(first row, stage) for tile after tile of `rows` rows, which bring(first row, stage) has begun to copy, like everything that was begun before. */
template <unsigned rows, class Bring, class Use>
__device__ __forceinline__ void forEachTile(std::uint64_t first, std::uint64_t end, Bring bring, Use use) {
  if (first < end) bring(first, 0u);
  commitCopies();
  unsigned stage = 0;
  for (std::uint64_t row = first; row < end; row += rows, stage ^= 1) {
    waitForCopies<0>();
    syncBlock();  // everybody's copies of this tile are there, and everybody has used the one before, whose place the next takes
    if (row + rows < end) bring(row + rows, stage ^ 1);
    commitCopies();
    use(row, stage);
  }
  waitForCopies<0>();
  syncBlock();  // where there was no tile, the block's own rows are there now
}

/** products = 16 rows * the transpose of `columns` rows, of `width` numbers. loadLeft(depth, words) loads the former. */
template <class Format, unsigned width, unsigned columns, class LoadLeft>
__device__ __forceinline__ void multiplyRows(Sums<columns>& products, LoadLeft loadLeft, const std::uint16_t* right) {
  const unsigned matrix = threadIdx.x % kWarp / 8;
  const unsigned line = threadIdx.x % 8;
#pragma unroll
  for (unsigned block = 0; block < columns / 8; block++) products[block][0] = products[block][1] = products[block][2] = products[block][3] = 0;
#pragma unroll
  for (unsigned depth = 0; depth < width; depth += 16) {
    std::uint32_t left[4];
    loadLeft(depth, left);
#pragma unroll
    for (unsigned column = 0; column < columns; column += 16) {
      std::uint32_t words[4];
      loadMatrices<false>(words, right + (column + matrix / 2 * 8 + line) * kPitch<width> + depth + matrix % 2 * 8);
      multiplyAdd16816<Format::kDtype == MUSTER_BF16>(products[column / 8], left, words[0], words[1]);
      multiplyAdd16816<Format::kDtype == MUSTER_BF16>(products[column / 8 + 1], left, words[2], words[3]);
    }
  }
}

/** Loads 16 rows of a tile as a left input. */
template <unsigned width>
__device__ __forceinline__ auto rowsOf(const std::uint16_t* tile) {
  return [tile](unsigned depth, std::uint32_t (&words)[4]) {
    const unsigned matrix = threadIdx.x % kWarp / 8;
    loadMatrices<false>(words, tile + (matrix % 2 * 8 + threadIdx.x % 8) * kPitch<width> + depth + matrix / 2 * 8);
  };
}

/** sums += weights (16 x depth), rounded to 16 bits, * a tile of `depth` rows. */
template <class Format, unsigned width, unsigned depth>
__device__ __forceinline__ void addWeighted(Sums<width>& sums, const Sums<depth>& weights, const std::uint16_t* tile) {
  constexpr bool isBf16 = Format::kDtype == MUSTER_BF16;
  const unsigned matrix = threadIdx.x % kWarp / 8;
  const unsigned line = threadIdx.x % 8;
#pragma unroll
  for (unsigned row = 0; row < depth; row += 16) {
    const auto& near = weights[row / 8];
    const auto& far = weights[row / 8 + 1];
    const std::uint32_t left[4] = {roundPair<isBf16>(near[0], near[1]), roundPair<isBf16>(near[2], near[3]), roundPair<isBf16>(far[0], far[1]), roundPair<isBf16>(far[2], far[3])};
#pragma unroll
    for (unsigned column = 0; column < width; column += 16) {
      std::uint32_t words[4];
      loadMatrices<true>(words, tile + (row + matrix % 2 * 8 + line) * kPitch<width> + column + matrix / 2 * 8);
      multiplyAdd16816<isBf16>(sums[column / 8], left, words[0], words[1]);
      multiplyAdd16816<isBf16>(sums[column / 8 + 1], left, words[2], words[3]);
    }
  }
}

/** Writes a warp's sums as rows `first` to before `end` of a head, through its own rows of a tile, which nobody reads any more: 16 bytes at a time. */
template <unsigned width, class Format>
__device__ __forceinline__ void writeRows(const Sums<width>& sums, std::uint16_t* tile, const Vectors<Format>& to, const muster_attention_shape& shape, std::uint64_t head, std::uint64_t first, std::uint64_t end) {
#pragma unroll
  for (unsigned block = 0; block < width / 8; block++) {
#pragma unroll
    for (unsigned index = 0; index < 4; index += 2) {
      *reinterpret_cast<std::uint32_t*>(tile + laneRow(index) * kPitch<width> + laneColumn(block, 0)) = roundPair<Format::kDtype == MUSTER_BF16>(sums[block][index], sums[block][index + 1]);
    }
  }
  syncWarp();
  constexpr unsigned rowVectors = width / kVectorElements;
#pragma unroll
  for (unsigned vector = threadIdx.x % kWarp; vector < kWarpRows * rowVectors; vector += kWarp) {
    const unsigned row = vector / rowVectors;
    const unsigned at = vector % rowVectors * kVectorElements;
    if (first + row >= end || at >= shape.width) continue;
    *reinterpret_cast<uint4*>(to.row(shape, head, first + row) + at) = *reinterpret_cast<const uint4*>(tile + row * kPitch<width> + at);
  }
}

/** Which rows of which head are this block's. Those with the most tiles come first, so that what is left for the end is short. */
struct Place {
  std::uint64_t head;
  /** Of the block, and of this warp. */
  std::uint64_t first, warpFirst;
  unsigned warpRow;
};

__device__ __forceinline__ Place placeOf(const muster_attention_shape& shape, unsigned tiles, bool isLastLongest) {
  const std::uint64_t heads = shape.batches * shape.heads;
  const std::uint64_t tile = blockIdx.x / heads;
  const std::uint64_t first = (isLastLongest ? tiles - 1 - tile : tile) * kOwnRows;
  const unsigned warpRow = threadIdx.x / kWarp * kWarpRows;
  return {blockIdx.x % heads, first, first + warpRow, warpRow};
}

/** How many keys the rows of a lane see, and how many all rows of the block do. */
struct Sight {
  std::uint64_t keys[2];
  std::uint64_t least, most;
};

__device__ __forceinline__ Sight sightOf(const muster_attention_shape& shape, const Place& place) {
  const auto seen = [&](std::uint64_t query) {
    const std::uint64_t keys = visibleKeys(shape, query);
    return keys < shape.keys ? keys : shape.keys;
  };
  return {{seen(place.warpFirst + laneRow(0)), seen(place.warpFirst + laneRow(2))}, seen(place.first), seen(place.first + kOwnRows - 1)};
}

template <class Format, unsigned width>
__global__ void __launch_bounds__(kThreads) attentionMmaKernel(Attention<Format> call, unsigned tiles) {
  const muster_attention_shape& shape = call.shape;
  const Place place = placeOf(shape, tiles, true);
  const Sight sight = sightOf(shape, place);
  constexpr unsigned tileElements = kForwardRows * kPitch<width>;
  auto* const own = reinterpret_cast<std::uint16_t*>(dynamicShared());
  std::uint16_t* const warpOwn = own + place.warpRow * kPitch<width>;
  std::uint16_t* const keyTiles = own + kOwnRows * kPitch<width>;
  std::uint16_t* const valueTiles = keyTiles + kStages * tileElements;
  bringRows<width, kOwnRows>(call.query, shape, place.head, place.first, shape.queries, own);

  const float scale = shape.scale * kLog2OfE;  // exponentials of 2 are an instruction
  Sums<width> sums = {};
  float largest[2] = {-floatOf(kInfinity), -floatOf(kInfinity)};
  float total[2] = {0, 0};
  std::uint32_t queries[width / 16][4];
  const auto bring = [&](std::uint64_t key, unsigned stage) {
    bringRows<width, kForwardRows>(call.key, shape, place.head, key, shape.keys, keyTiles + stage * tileElements);
    bringRows<width, kForwardRows>(call.value, shape, place.head, key, shape.keys, valueTiles + stage * tileElements);
  };
  forEachTile<kForwardRows>(0, sight.most, bring, [&](std::uint64_t key, unsigned stage) {
    if (key == 0) {
#pragma unroll
      for (unsigned depth = 0; depth < width; depth += 16) rowsOf<width>(warpOwn)(depth, queries[depth / 16]);
    }
    const auto loadQueries = [&](unsigned depth, std::uint32_t (&words)[4]) {
#pragma unroll
      for (unsigned word = 0; word < 4; word++) words[word] = queries[depth / 16][word];
    };
    Sums<kForwardRows> scores;
    multiplyRows<Format, width, kForwardRows>(scores, loadQueries, keyTiles + stage * tileElements);
    const bool isEdge = key + kForwardRows > sight.least;
    float most[2] = {largest[0], largest[1]};
#pragma unroll
    for (unsigned block = 0; block < kForwardRows / 8; block++) {
#pragma unroll
      for (unsigned index = 0; index < 4; index++) {
        float& score = scores[block][index];
        score = isEdge && key + laneColumn(block, index) >= sight.keys[index / 2] ? -floatOf(kInfinity) : score * scale;
        most[index / 2] = Larger()(most[index / 2], score);
      }
    }
#pragma unroll
    for (unsigned half = 0; half < 2; half++) {
      most[half] = reduceRow(most[half], Larger());
      const float correction = largest[half] == most[half] ? 1 : exp2f(largest[half] - most[half]);
      largest[half] = most[half];
      total[half] *= correction;
#pragma unroll
      for (unsigned block = 0; block < width / 8; block++) sums[block][2 * half] *= correction, sums[block][2 * half + 1] *= correction;
    }
#pragma unroll
    for (unsigned block = 0; block < kForwardRows / 8; block++) {
#pragma unroll
      for (unsigned index = 0; index < 4; index++) {
        scores[block][index] = exp2f(scores[block][index] - largest[index / 2]);
        total[index / 2] += scores[block][index];
      }
    }
    addWeighted<Format, width, kForwardRows>(sums, scores, valueTiles + stage * tileElements);
  });

#pragma unroll
  for (unsigned half = 0; half < 2; half++) {
    total[half] = reduceRow(total[half], Add());
    const std::uint64_t query = place.warpFirst + laneRow(2 * half);
    if (threadIdx.x % 4 == 0 && query < shape.queries) call.logSums[place.head * shape.queries + query] = (largest[half] + log2f(total[half])) * kLnOf2;
#pragma unroll
    for (unsigned block = 0; block < width / 8; block++) sums[block][2 * half] /= total[half], sums[block][2 * half + 1] /= total[half];
  }
  writeRows<width>(sums, warpOwn, call.result, shape, place.head, place.warpFirst, shape.queries);
}

/** The gradients of the block's queries, and the products of their results and gradients. */
template <class Format, unsigned width>
__global__ void __launch_bounds__(kThreads) queryGradientMmaKernel(AttentionBackward<Format> call, unsigned tiles) {
  const muster_attention_shape& shape = call.shape;
  const Place place = placeOf(shape, tiles, true);
  const Sight sight = sightOf(shape, place);
  constexpr unsigned rows = kBackwardRows<width>;
  constexpr unsigned tileElements = rows * kPitch<width>;
  auto* const own = reinterpret_cast<std::uint16_t*>(dynamicShared());
  std::uint16_t* const upper = own + kOwnRows * kPitch<width>;
  std::uint16_t* const keyTiles = upper + kOwnRows * kPitch<width>;
  std::uint16_t* const valueTiles = keyTiles + kStages * tileElements;
  bringRows<width, kOwnRows>(call.query, shape, place.head, place.first, shape.queries, own);
  bringRows<width, kOwnRows>(call.gradient, shape, place.head, place.first, shape.queries, upper);

  float product[2] = {0, 0};
  float logSum[2] = {0, 0};
  for (unsigned row = 0; row < kWarpRows && place.warpFirst + row < shape.queries; row++) {
    const std::uint64_t query = place.warpFirst + row;
    const auto* const result = call.result.row(shape, place.head, query);
    const auto* const gradient = call.gradient.row(shape, place.head, query);
    float sum = 0;
    for (unsigned index = threadIdx.x % kWarp; index < shape.width; index += kWarp) sum += numberAt<Format>(result, index) * numberAt<Format>(gradient, index);
    sum = reduceWarp(sum, Add());
    const std::uint64_t unit = place.head * shape.queries + query;
    if (threadIdx.x % kWarp == 0) call.products[unit] = sum;
    if (row % 8 != laneRow(0)) continue;
    (row < 8 ? product[0] : product[1]) = sum;
    (row < 8 ? logSum[0] : logSum[1]) = call.logSums[unit] * kLog2OfE;
  }

  const float scale = shape.scale * kLog2OfE;
  Sums<width> sums = {};
  const auto bring = [&](std::uint64_t key, unsigned stage) {
    bringRows<width, rows>(call.key, shape, place.head, key, shape.keys, keyTiles + stage * tileElements);
    bringRows<width, rows>(call.value, shape, place.head, key, shape.keys, valueTiles + stage * tileElements);
  };
  forEachTile<rows>(0, sight.most, bring, [&](std::uint64_t key, unsigned stage) {
    Sums<rows> scores, slopes;
    multiplyRows<Format, width, rows>(scores, rowsOf<width>(own + place.warpRow * kPitch<width>), keyTiles + stage * tileElements);
    multiplyRows<Format, width, rows>(slopes, rowsOf<width>(upper + place.warpRow * kPitch<width>), valueTiles + stage * tileElements);
    const bool isEdge = key + rows > sight.least;
#pragma unroll
    for (unsigned block = 0; block < rows / 8; block++) {
#pragma unroll
      for (unsigned index = 0; index < 4; index++) {
        const float share = exp2f(fmaf(scores[block][index], scale, -logSum[index / 2]));
        const float slope = share * (slopes[block][index] - product[index / 2]) * shape.scale;
        slopes[block][index] = isEdge && key + laneColumn(block, index) >= sight.keys[index / 2] ? 0 : slope;
      }
    }
    addWeighted<Format, width, rows>(sums, slopes, keyTiles + stage * tileElements);
  });
  writeRows<width>(sums, own + place.warpRow * kPitch<width>, call.queryGradient, shape, place.head, place.warpFirst, shape.queries);
}

/** The gradients of the block's keys and values. */
template <class Format, unsigned width>
__global__ void __launch_bounds__(kThreads) keyGradientMmaKernel(AttentionBackward<Format> call) {
  const muster_attention_shape& shape = call.shape;
  const Place place = placeOf(shape, 0, false);
  constexpr unsigned rows = kBackwardRows<width>;
  constexpr unsigned tileElements = rows * kPitch<width>;
  auto* const own = reinterpret_cast<std::uint16_t*>(dynamicShared());
  std::uint16_t* const values = own + kOwnRows * kPitch<width>;
  std::uint16_t* const queryTiles = values + kOwnRows * kPitch<width>;
  std::uint16_t* const upperTiles = queryTiles + kStages * tileElements;
  auto* const logSums = reinterpret_cast<float*>(upperTiles + kStages * tileElements);
  float* const products = logSums + kStages * rows;
  bringRows<width, kOwnRows>(call.key, shape, place.head, place.first, shape.keys, own);
  bringRows<width, kOwnRows>(call.value, shape, place.head, place.first, shape.keys, values);

  const float scale = shape.scale * kLog2OfE;
  Sums<width> keySums = {}, valueSums = {};
  const auto bring = [&](std::uint64_t query, unsigned stage) {
    bringRows<width, rows>(call.query, shape, place.head, query, shape.queries, queryTiles + stage * tileElements);
    bringRows<width, rows>(call.gradient, shape, place.head, query, shape.queries, upperTiles + stage * tileElements);
    if (threadIdx.x >= rows || query + threadIdx.x >= shape.queries) return;
    const std::uint64_t unit = place.head * shape.queries + query + threadIdx.x;
    logSums[stage * rows + threadIdx.x] = call.logSums[unit] * kLog2OfE;
    products[stage * rows + threadIdx.x] = call.products[unit];
  };
  const std::uint64_t first = firstQueryThatSees(shape, place.first) / rows * rows;
  forEachTile<rows>(first, shape.queries, bring, [&](std::uint64_t query, unsigned stage) {
    Sums<rows> shares, slopes;
    multiplyRows<Format, width, rows>(shares, rowsOf<width>(own + place.warpRow * kPitch<width>), queryTiles + stage * tileElements);
    multiplyRows<Format, width, rows>(slopes, rowsOf<width>(values + place.warpRow * kPitch<width>), upperTiles + stage * tileElements);
    const bool isEdge = query + rows > shape.queries || place.first + kOwnRows > visibleKeys(shape, query);
#pragma unroll
    for (unsigned block = 0; block < rows / 8; block++) {
#pragma unroll
      for (unsigned index = 0; index < 4; index++) {
        const unsigned column = laneColumn(block, index);
        const bool isHidden = isEdge && (query + column >= shape.queries || place.warpFirst + laneRow(index) >= visibleKeys(shape, query + column));
        const float share = isHidden ? 0 : exp2f(fmaf(shares[block][index], scale, -logSums[stage * rows + column]));
        slopes[block][index] = isHidden ? 0 : share * (slopes[block][index] - products[stage * rows + column]) * shape.scale;
        shares[block][index] = share;
      }
    }
    addWeighted<Format, width, rows>(valueSums, shares, upperTiles + stage * tileElements);
    addWeighted<Format, width, rows>(keySums, slopes, queryTiles + stage * tileElements);
  });
  writeRows<width>(keySums, own + place.warpRow * kPitch<width>, call.keyGradient, shape, place.head, place.warpFirst, shape.keys);
  writeRows<width>(valueSums, values + place.warpRow * kPitch<width>, call.valueGradient, shape, place.head, place.warpFirst, shape.keys);
}

constexpr std::uint64_t kWidthMax = 128;

/** Whether every vector begins at a multiple of 16 bytes. */
bool liesInVectors(const muster_heads& heads) { return (heads.batch_stride | heads.head_stride | heads.row_stride) % kVectorElements == 0 && areAligned(heads.tensor.data); }

bool takes(const muster_attention_shape& shape, muster_dtype dtype, std::initializer_list<muster_heads> all) {
  if (dtype == MUSTER_F32 || shape.keys == 0 || shape.width == 0 || shape.width % kVectorElements != 0 || shape.width > kWidthMax) return false;
  for (const muster_heads& heads : all) {
    if (!liesInVectors(heads)) return false;
  }
  return true;
}

/** Blocks for `rows` rows of each head. */
muster_code blocksOf(const muster_attention_shape& shape, std::uint64_t rows, unsigned& tiles, unsigned& blocks) {
  const std::uint64_t needed = (rows + kOwnRows - 1) / kOwnRows;
  const std::uint64_t all = needed * shape.batches * shape.heads;
  if (all >= std::uint64_t{1} << 31) return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "attention of %llu vectors is more than a call can take", static_cast<unsigned long long>(rows * shape.batches * shape.heads));
  tiles = static_cast<unsigned>(needed), blocks = static_cast<unsigned>(all);
  return MUSTER_OK;
}

template <unsigned rows>
struct Width {
  static constexpr unsigned value = rows;
};

/** Calls `run` with the format and the width that kernels are compiled for. */
template <class Run>
muster_code withKernels(const muster_attention_shape& shape, muster_dtype dtype, Run run) {
  const auto withWidth = [&](auto format) { return shape.width <= 64 ? run(format, Width<64>()) : run(format, Width<kWidthMax>()); };
  return dtype == MUSTER_BF16 ? withWidth(Bf16()) : withWidth(F16());
}

}  // namespace

bool mmaAttentionTakes(const muster_attention_call& call) { return takes(call.shape, call.query.tensor.dtype, {call.query, call.key, call.value, call.result}); }

bool mmaAttentionTakes(const muster_attention_backward_call& call) {
  return takes(call.shape, call.query.tensor.dtype, {call.query, call.key, call.value, call.result, call.gradient, call.query_gradient, call.key_gradient, call.value_gradient});
}

muster_code mmaAttention(const muster_attention_call& call, cudaStream_t stream) {
  unsigned tiles = 0, blocks = 0;
  if (const muster_code code = blocksOf(call.shape, call.shape.queries, tiles, blocks); code != MUSTER_OK) return code;
  return withKernels(call.shape, call.query.tensor.dtype, [&](auto format, auto compiled) {
    using Format = decltype(format);
    constexpr unsigned width = compiled.value;
    constexpr std::size_t sharedBytes = (kOwnRows + 2 * kStages * kForwardRows) * kPitch<width> * sizeof(std::uint16_t);
    return launch(attentionMmaKernel<Format, width>, blocks, kThreads, sharedBytes, stream, attentionOf<Format>(call), tiles);
  });
}

muster_code mmaAttention(const muster_attention_backward_call& call, float* products, cudaStream_t stream) {
  unsigned queryTiles = 0, queryBlocks = 0, keyTiles = 0, keyBlocks = 0;
  if (const muster_code code = blocksOf(call.shape, call.shape.queries, queryTiles, queryBlocks); code != MUSTER_OK) return code;
  if (const muster_code code = blocksOf(call.shape, call.shape.keys, keyTiles, keyBlocks); code != MUSTER_OK) return code;
  return withKernels(call.shape, call.query.tensor.dtype, [&](auto format, auto compiled) {
    using Format = decltype(format);
    constexpr unsigned width = compiled.value;
    constexpr unsigned rows = kBackwardRows<width>;
    constexpr std::size_t sharedBytes = 2 * (kOwnRows + kStages * rows) * kPitch<width> * sizeof(std::uint16_t);
    const AttentionBackward<Format> backward = attentionOf<Format>(call, products);
    if (queryBlocks > 0) {
      if (const muster_code code = launch(queryGradientMmaKernel<Format, width>, queryBlocks, kThreads, sharedBytes, stream, backward, queryTiles); code != MUSTER_OK) return code;
    }
    return launch(keyGradientMmaKernel<Format, width>, keyBlocks, kThreads, sharedBytes + 2 * kStages * rows * sizeof(float), stream, backward);
  });
}

}  // namespace muster::cuda
