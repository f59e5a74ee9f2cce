/**
 * Matrix products of f16 and bf16 with mma.sync m16n8k16, from Ampere on. Tiles of 128 x 128 of the result, 8 warps with 64 x 32 each; inputs come through a ring of
 * kStages tiles of depth 32 by cp.async, three of which are under way while one is used. Tiles lie in shared memory as in device memory, contiguous in depth or in
 * lines, and ldmatrix transposes the latter; lines are padded by 16 bytes, so that the 8 rows of each ldmatrix fall into different banks.
 * What lies neither in vectors of 16 bytes nor in whole ones is read element by element.
 * A multiprocessor reads 2 * 128 * 32 * 2 = 16 KiB of the second cache for 2 * 128 * 128 * 32 = 1 MiFLOP.
 * CPU reference: src/kernels/gemm.h.
 */
#include <algorithm>

#include "formats.cuh"
#include "gemm-epilogue.cuh"
#include "gemm.h"
#include "launch.h"

namespace muster::cuda {
namespace {

constexpr unsigned kSide = 128;
constexpr unsigned kDepth = 32;
constexpr unsigned kStages = 4;
/** Elements of padding: 16 bytes. */
constexpr unsigned kPadding = 8;
constexpr unsigned kVectorElements = 8;
/** Of a warp's part of the tile. */
constexpr unsigned kWarpRows = 64;
constexpr unsigned kWarpColumns = 32;

/** A tile in shared memory: [line][depth], or [depth][line] where lines are contiguous. */
template <bool byLines>
struct Tile {
  static constexpr unsigned kPitch = (byLines ? kSide : kDepth) + kPadding;
  static constexpr unsigned kElements = (byLines ? kDepth : kSide) * kPitch;
  __device__ __forceinline__ static unsigned at(unsigned line, unsigned depth) { return byLines ? depth * kPitch + line : line * kPitch + depth; }
};

/** Lines of an input: rows of left, columns of right. */
struct Input {
  const std::uint16_t* data;
  std::uint64_t lines, depth;
  std::uint64_t lineStride, depthStride;
  /** Lies in vectors of 16 bytes. */
  bool isVector;
};

/** Brings this thread's share of a tile; what is outside the matrix is zeros. */
template <bool byLines>
__device__ __forceinline__ void bringTile(const Input& input, std::uint64_t firstLine, std::uint64_t firstDepth, std::uint16_t* tile) {
  constexpr unsigned inner = byLines ? kSide : kDepth;
  constexpr unsigned vectors = inner / kVectorElements;
  if (input.isVector) {
#pragma unroll
    for (unsigned own = 0; own < kSide * kDepth / kVectorElements / kBlockThreads; own++) {
      const unsigned index = own * kBlockThreads + threadIdx.x;
      const unsigned outerAt = index / vectors;
      const unsigned innerAt = index % vectors * kVectorElements;
      const unsigned line = byLines ? innerAt : outerAt;
      const unsigned at = byLines ? outerAt : innerAt;
      const std::uint64_t innerPlace = byLines ? firstLine + line : firstDepth + at;
      const std::uint64_t innerEnd = byLines ? input.lines : input.depth;
      const bool isInside = firstLine + line < input.lines && firstDepth + at < input.depth;
      const std::uint64_t left = isInside ? innerEnd - innerPlace : 0;
      const unsigned elements = left < kVectorElements ? static_cast<unsigned>(left) : kVectorElements;
      const std::uint16_t* const from = isInside ? input.data + (firstLine + line) * input.lineStride + (firstDepth + at) * input.depthStride : input.data;
      copyAsync16(tile + Tile<byLines>::at(line, at), from, elements * 2);
    }
  } else {
#pragma unroll 4
    for (unsigned own = 0; own < kSide * kDepth / kBlockThreads; own++) {
      const unsigned index = own * kBlockThreads + threadIdx.x;
      const unsigned line = byLines ? index % inner : index / inner;
      const unsigned at = byLines ? index / inner : index % inner;
      const bool isInside = firstLine + line < input.lines && firstDepth + at < input.depth;
      tile[Tile<byLines>::at(line, at)] = isInside ? input.data[(firstLine + line) * input.lineStride + (firstDepth + at) * input.depthStride] : std::uint16_t{0};
    }
  }
}

template <class Format, bool leftByLines, bool rightByLines>
__global__ void __launch_bounds__(kBlockThreads, 2) mmaGemmKernel(Product product, TileGrid grid, bool isLeftVector, bool isRightVector) {
  using LeftTile = Tile<leftByLines>;
  using RightTile = Tile<rightByLines>;
  auto* const leftTiles = reinterpret_cast<std::uint16_t*>(dynamicShared());
  std::uint16_t* const rightTiles = leftTiles + kStages * LeftTile::kElements;
  const std::uint64_t tiles = std::uint64_t{grid.rowTiles} * grid.columnTiles;
  const std::uint64_t batch = blockIdx.x / tiles;
  std::uint32_t rowTile, columnTile;
  placeTile(grid, blockIdx.x % tiles, rowTile, columnTile);
  const std::uint64_t firstRow = std::uint64_t{rowTile} * kSide;
  const std::uint64_t firstColumn = std::uint64_t{columnTile} * kSide;
  const Input left{static_cast<const std::uint16_t*>(product.left) + batch * product.leftBatchStride, product.rows, product.depth, product.leftRowStride, product.leftColumnStride, isLeftVector};
  const Input right{static_cast<const std::uint16_t*>(product.right) + batch * product.rightBatchStride, product.columns, product.depth, product.rightColumnStride, product.rightRowStride, isRightVector};
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned warpRow = threadIdx.x / kWarp / (kSide / kWarpColumns) * kWarpRows;
  const unsigned warpColumn = threadIdx.x / kWarp % (kSide / kWarpColumns) * kWarpColumns;

  const auto bring = [&](std::uint64_t tile) {
    const auto stage = static_cast<unsigned>(tile % kStages);
    if (tile * kDepth < product.depth) {
      bringTile<leftByLines>(left, firstRow, tile * kDepth, leftTiles + stage * LeftTile::kElements);
      bringTile<rightByLines>(right, firstColumn, tile * kDepth, rightTiles + stage * RightTile::kElements);
    }
    commitCopies();  // also of nothing: groups are counted
  };

  float sums[kWarpRows / 16][kWarpColumns / 8][4] = {};
  for (std::uint64_t tile = 0; tile < kStages - 1; tile++) bring(tile);
  for (std::uint64_t tile = 0; tile * kDepth < product.depth; tile++) {
    waitForCopies<static_cast<int>(kStages) - 2>();
    syncBlock();  // everybody's copies of this tile are there, and everybody has used the one before, whose place the next takes
    bring(tile + kStages - 1);
    const std::uint16_t* const leftTile = leftTiles + tile % kStages * LeftTile::kElements;
    const std::uint16_t* const rightTile = rightTiles + tile % kStages * RightTile::kElements;
    const unsigned matrix = lane / 8;
    const unsigned line = lane % 8;
#pragma unroll
    for (unsigned depth = 0; depth < kDepth; depth += 16) {
      std::uint32_t rows[kWarpRows / 16][4];
      std::uint32_t columns[kWarpColumns / 16][4];
      // The four matrices of left: rows 0 and 8, then the same 8 further in depth; of right: depth 0 and 8, then the same 8 columns further.
#pragma unroll
      for (unsigned part = 0; part < kWarpRows / 16; part++) {
        const unsigned row = warpRow + part * 16 + matrix % 2 * 8;
        const unsigned at = depth + matrix / 2 * 8;
        loadMatrices<leftByLines>(rows[part], leftTile + (leftByLines ? LeftTile::at(row, at + line) : LeftTile::at(row + line, at)));
      }
#pragma unroll
      for (unsigned part = 0; part < kWarpColumns / 16; part++) {
        const unsigned column = warpColumn + part * 16 + matrix / 2 * 8;
        const unsigned at = depth + matrix % 2 * 8;
        loadMatrices<rightByLines>(columns[part], rightTile + (rightByLines ? RightTile::at(column, at + line) : RightTile::at(column + line, at)));
      }
#pragma unroll
      for (unsigned row = 0; row < kWarpRows / 16; row++) {
#pragma unroll
        for (unsigned column = 0; column < kWarpColumns / 8; column++) {
          const std::uint32_t(&words)[4] = columns[column / 2];
          multiplyAdd16816<Format::kDtype == MUSTER_BF16>(sums[row][column], rows[row], words[column % 2 * 2], words[column % 2 * 2 + 1]);
        }
      }
    }
  }

  waitForCopies<0>();
  syncBlock();  // the tiles' place is the sums' from here on
  auto* const tile = reinterpret_cast<float*>(dynamicShared());
#pragma unroll
  for (unsigned row = 0; row < kWarpRows / 16; row++) {
#pragma unroll
    for (unsigned column = 0; column < kWarpColumns / 8; column++) {
      float* const to = tile + (warpRow + row * 16 + lane / 4) * kSumsPitch<kSide> + warpColumn + column * 8 + lane % 4 * 2;
      to[0] = sums[row][column][0], to[1] = sums[row][column][1];
      to[8 * kSumsPitch<kSide>] = sums[row][column][2], to[8 * kSumsPitch<kSide> + 1] = sums[row][column][3];
    }
  }
  syncBlock();
  finishTile<Format, kSide, kSide>(product, batch, firstRow, firstColumn, tile, threadIdx.x, kBlockThreads);
}

template <class Format, bool leftByLines, bool rightByLines>
muster_code start(const GemmCall& call, bool isLeftVector, bool isRightVector, cudaStream_t stream) {
  TileGrid grid{};
  unsigned blocks = 0;
  if (const muster_code code = tilesOf(call, kSide, kSide, grid, blocks); code != MUSTER_OK) return code;
  constexpr std::size_t tileBytes = kStages * (Tile<leftByLines>::kElements + Tile<rightByLines>::kElements) * sizeof(std::uint16_t);
  constexpr std::size_t sharedBytes = std::max(tileBytes, kSumsBytes<kSide, kSide>);
  return launch(mmaGemmKernel<Format, leftByLines, rightByLines>, blocks, kBlockThreads, sharedBytes, stream, productOf(call), grid, isLeftVector, isRightVector);
}

/** Whether one stride is 1, and the others and the address are multiples of 16 bytes. */
bool liesInVectors(const muster_matrices& matrices, std::uint64_t batches) {
  const std::uint64_t outer = matrices.column_stride == 1 ? matrices.row_stride : matrices.row_stride == 1 ? matrices.column_stride : 1;
  return outer % kVectorElements == 0 && (batches == 1 || matrices.batch_stride % kVectorElements == 0) && areAligned(matrices.tensor.data);
}

}  // namespace

muster_code mmaGemm(const GemmCall& call, cudaStream_t stream) {
  const bool isLeftVector = liesInVectors(call.left, call.batches);
  const bool isRightVector = liesInVectors(call.right, call.batches);
  const bool leftByLines = call.left.column_stride != 1 && call.left.row_stride == 1;
  const bool rightByLines = call.right.row_stride != 1 && call.right.column_stride == 1;
  const auto run = [&](auto kind) {
    using Format = decltype(kind);
    if (leftByLines) return rightByLines ? start<Format, true, true>(call, isLeftVector, isRightVector, stream) : start<Format, true, false>(call, isLeftVector, isRightVector, stream);
    return rightByLines ? start<Format, false, true>(call, isLeftVector, isRightVector, stream) : start<Format, false, false>(call, isLeftVector, isRightVector, stream);
  };
  return call.left.tensor.dtype == MUSTER_BF16 ? run(Bf16{}) : run(F16{});
}

}  // namespace muster::cuda
