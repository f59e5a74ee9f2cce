/**
 * muster_cuda_gemm: which kernel computes a product, and the one of plain f32 multiply-adds, for f32 inputs. 2 * rows * columns * depth FLOPs.
 * Versions: a sum a thread, from device memory; tiles of 64 x 64 with 4 x 4 sums a thread, whose reads of shared memory take twice as long as the multiplications; tiles of
 * 128 x 128 with 8 x 8 sums, which read 16 numbers for 64 multiply-adds.
 * CPU reference: src/kernels/gemm.h.
 */
#include "gemm.h"

#include "formats.cuh"
#include "gemm-epilogue.cuh"
#include "kernels/calls.h"
#include "launch.h"

namespace muster::cuda {
namespace {

constexpr unsigned kSide = 128;
constexpr unsigned kDepth = 8;
/** Elements of each input's tile that a thread brings. */
constexpr unsigned kOwn = kSide * kDepth / kBlockThreads;
/** Of a tile's line of shared memory: 4 more, so that the stores of a warp fall into different banks. */
constexpr unsigned kPitch = kSide + 4;

/** Lines of an input: rows of left, columns of right. */
template <class Format>
struct Input {
  const typename Format::Element* data;
  std::uint64_t lines, depth;
  std::uint64_t lineStride, depthStride;

  /** Where this thread's element `index` of a tile lies: neighbouring threads take what is neighbouring in memory. */
  __device__ __forceinline__ void place(unsigned index, unsigned& line, unsigned& at) const {
    if (lineStride == 1) {
      line = threadIdx.x % kSide;
      at = threadIdx.x / kSide + index * (kBlockThreads / kSide);
    } else {
      line = threadIdx.x / kDepth + index * (kBlockThreads / kDepth);
      at = threadIdx.x % kDepth;
    }
  }
  __device__ __forceinline__ void read(std::uint64_t firstLine, std::uint64_t firstDepth, float (&values)[kOwn]) const {
#pragma unroll
    for (unsigned index = 0; index < kOwn; index++) {
      unsigned line, at;
      place(index, line, at);
      float one[1] = {0};
      if (firstLine + line < lines && firstDepth + at < depth) load<Format>(data + (firstLine + line) * lineStride + (firstDepth + at) * depthStride, one);
      values[index] = one[0];
    }
  }
  __device__ __forceinline__ void keep(const float (&values)[kOwn], float (*tile)[kPitch]) const {
#pragma unroll
    for (unsigned index = 0; index < kOwn; index++) {
      unsigned line, at;
      place(index, line, at);
      tile[at][line] = values[index];
    }
  }
};

/** Of a thread's 8 lines of a tile, in two runs of 4, 64 apart: the reads of a warp fall into different banks. */
__device__ __forceinline__ unsigned lineOf(unsigned thread, unsigned index) { return thread * 4 + index % 4 + index / 4 * (kSide / 2); }

template <class Format>
__global__ void __launch_bounds__(kBlockThreads, 2) simtGemmKernel(Product product, TileGrid grid) {
  __align__(16) __shared__ float leftTile[kDepth][kPitch];  // read by fours
  __align__(16) __shared__ float rightTile[kDepth][kPitch];
  const std::uint64_t tiles = std::uint64_t{grid.rowTiles} * grid.columnTiles;
  const std::uint64_t batch = blockIdx.x / tiles;
  std::uint32_t rowTile, columnTile;
  placeTile(grid, blockIdx.x % tiles, rowTile, columnTile);
  const std::uint64_t firstRow = std::uint64_t{rowTile} * kSide;
  const std::uint64_t firstColumn = std::uint64_t{columnTile} * kSide;
  using Element = typename Format::Element;
  const Input<Format> left{static_cast<const Element*>(product.left) + batch * product.leftBatchStride, product.rows, product.depth, product.leftRowStride, product.leftColumnStride};
  const Input<Format> right{static_cast<const Element*>(product.right) + batch * product.rightBatchStride, product.columns, product.depth, product.rightColumnStride, product.rightRowStride};
  const unsigned across = threadIdx.x % 16;
  const unsigned down = threadIdx.x / 16;
  float sums[8][8] = {};
  float nextLeft[kOwn], nextRight[kOwn];
  left.read(firstRow, 0, nextLeft);
  right.read(firstColumn, 0, nextRight);
  for (std::uint64_t depth = 0; depth < product.depth; depth += kDepth) {
    syncBlock();  // the tiles before were used
    left.keep(nextLeft, leftTile);
    right.keep(nextRight, rightTile);
    syncBlock();
    left.read(firstRow, depth + kDepth, nextLeft);
    right.read(firstColumn, depth + kDepth, nextRight);
#pragma unroll
    for (unsigned at = 0; at < kDepth; at++) {
      float rows[8], columns[8];
#pragma unroll
      for (unsigned half = 0; half < 2; half++) {
        const float4 a = *reinterpret_cast<const float4*>(&leftTile[at][lineOf(down, 4 * half)]);
        const float4 b = *reinterpret_cast<const float4*>(&rightTile[at][lineOf(across, 4 * half)]);
        rows[4 * half] = a.x, rows[4 * half + 1] = a.y, rows[4 * half + 2] = a.z, rows[4 * half + 3] = a.w;
        columns[4 * half] = b.x, columns[4 * half + 1] = b.y, columns[4 * half + 2] = b.z, columns[4 * half + 3] = b.w;
      }
#pragma unroll
      for (int row = 0; row < 8; row++) {
#pragma unroll
        for (int column = 0; column < 8; column++) sums[row][column] = fmaf(rows[row], columns[column], sums[row][column]);
      }
    }
  }
  auto* const tile = reinterpret_cast<float*>(dynamicShared());
#pragma unroll
  for (unsigned row = 0; row < 8; row++) {
#pragma unroll
    for (unsigned column = 0; column < 8; column++) tile[lineOf(down, row) * kSumsPitch<kSide> + lineOf(across, column)] = sums[row][column];
  }
  syncBlock();
  finishTile<Format, kSide, kSide>(product, batch, firstRow, firstColumn, tile, threadIdx.x, kBlockThreads);
}

}  // namespace

muster_code tilesOf(const GemmCall& call, unsigned tileRows, unsigned tileColumns, TileGrid& grid, unsigned& blocks) {
  const std::uint64_t down = (call.rows + tileRows - 1) / tileRows;
  const std::uint64_t across = (call.columns + tileColumns - 1) / tileColumns;
  constexpr std::uint64_t blocksMax = (std::uint64_t{1} << 31) - 1;
  if (down > blocksMax || across > blocksMax / down || call.batches > blocksMax / (down * across)) {
    return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "%llu products of %llu x %llu are more than a call can take", static_cast<unsigned long long>(call.batches), static_cast<unsigned long long>(call.rows),
                       static_cast<unsigned long long>(call.columns));
  }
  grid = {static_cast<std::uint32_t>(down), static_cast<std::uint32_t>(across)};
  blocks = static_cast<unsigned>(down * across * call.batches);
  return MUSTER_OK;
}

muster_code simtGemm(const GemmCall& call, cudaStream_t stream) {
  TileGrid grid{};
  unsigned blocks = 0;
  if (const muster_code code = tilesOf(call, kSide, kSide, grid, blocks); code != MUSTER_OK) return code;
  return withTrainingFormat(call.left.tensor.dtype, [&](auto kind) { return launch(simtGemmKernel<decltype(kind)>, blocks, kBlockThreads, kSumsBytes<kSide, kSide>, stream, productOf(call), grid); });
}

bool mmaTakes(const GemmCall& call) { return call.left.tensor.dtype != MUSTER_F32; }

bool wgmmaTakes(const GemmCall& call, int capability) {
  if (capability != 90 || call.left.tensor.dtype == MUSTER_F32 || call.depth == 0) return false;
  // What the tensor maps of the memory accelerator ask: contiguous inner dimensions, multiples of 16 bytes, and coordinates that are positive in 32 bits.
  constexpr std::uint64_t sizeMax = (std::uint64_t{1} << 31) - 256;  // so that the end of the last tile is one too
  const auto fits = [&](const muster_matrices& matrices, std::uint64_t lines, std::uint64_t lineStride, std::uint64_t depthStride) {
    constexpr std::uint64_t strideMax = (std::uint64_t{1} << 39) / 2;  // 2^40 bytes are the limit
    const bool isBatchRegular = call.batches == 1 || (matrices.batch_stride > 0 && matrices.batch_stride % 8 == 0 && matrices.batch_stride < strideMax);
    return depthStride == 1 && lineStride > 0 && lineStride % 8 == 0 && lineStride < strideMax && lines <= sizeMax && reinterpret_cast<std::uintptr_t>(matrices.tensor.data) % 16 == 0 && isBatchRegular;
  };
  return call.depth <= sizeMax && call.batches <= sizeMax && fits(call.left, call.rows, call.left.row_stride, call.left.column_stride) &&
         fits(call.right, call.columns, call.right.column_stride, call.right.row_stride);
}

bool cublasLtTakes(const GemmCall& call) {
  const auto lies = [](const muster_matrices& matrices) { return matrices.column_stride == 1 || matrices.row_stride == 1; };
  const bool isActivationKnown = call.activation == MUSTER_IDENTITY || call.activation == MUSTER_RELU || call.activation == MUSTER_GELU_TANH;
  // Its bias has the result's format, and ours is f32.
  const bool isBiasKnown = call.bias.elements == 0 || call.result.tensor.dtype == MUSTER_F32;
  constexpr std::uint64_t sizeMax = (std::uint64_t{1} << 31) - 1;
  return call.depth > 0 && call.rows <= sizeMax && call.columns <= sizeMax && call.depth <= sizeMax && call.batches <= sizeMax && lies(call.left) && lies(call.right) && isActivationKnown && isBiasKnown;
}

muster_cuda_gemm_algorithm chooseGemm(const GemmCall& call, int capability, bool hasCublasLt) {
  if (hasCublasLt && cublasLtTakes(call)) return MUSTER_CUDA_GEMM_CUBLASLT;
  if (wgmmaTakes(call, capability)) return MUSTER_CUDA_GEMM_WGMMA;
  return mmaTakes(call) ? MUSTER_CUDA_GEMM_MMA : MUSTER_CUDA_GEMM_SIMT;
}

}  // namespace muster::cuda

using namespace muster::cuda;

muster_code muster_cuda_gemm_choose(const muster_gemm_call* call, muster_cuda_gemm_algorithm* algorithm) {
  if (const muster_code code = muster::kernels::checkGemm(*call); code != MUSTER_OK) return code;
  *algorithm = chooseGemm(*call, computeCapability(), cublasLtFound() == MUSTER_OK);
  return MUSTER_OK;
}

muster_code muster_cuda_gemm(const muster_gemm_call* call, muster_cuda_gemm_algorithm algorithm, muster_cuda_stream stream) {
  if (const muster_code code = muster::kernels::checkGemm(*call); code != MUSTER_OK) return code;
  if (call->batches == 0 || call->rows == 0 || call->columns == 0) return MUSTER_OK;
  const int capability = computeCapability();
  switch (algorithm) {
    case MUSTER_CUDA_GEMM_BEST: {
      const muster_cuda_gemm_algorithm best = chooseGemm(*call, capability, cublasLtFound() == MUSTER_OK);
      if (best != MUSTER_CUDA_GEMM_CUBLASLT) return muster_cuda_gemm(call, best, stream);
      const muster_code code = cublasLtGemm(*call, stream);
      return code != MUSTER_UNAVAILABLE ? code : muster_cuda_gemm(call, chooseGemm(*call, capability, false), stream);
    }
    case MUSTER_CUDA_GEMM_SIMT: return simtGemm(*call, stream);
    case MUSTER_CUDA_GEMM_MMA:
      if (mmaTakes(*call)) return mmaGemm(*call, stream);
      return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "mma multiplies f16 and bf16, not f32");
    case MUSTER_CUDA_GEMM_WGMMA:
      if (wgmmaTakes(*call, capability)) return wgmmaGemm(*call, stream);
      return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "wgmma wants compute capability 9.0 (here %d.%d), f16 or bf16, depth contiguous in both inputs, and addresses and other strides that are multiples of 16 bytes",
                         capability / 10, capability % 10);
    case MUSTER_CUDA_GEMM_CUBLASLT:
      if (const muster_code code = cublasLtFound(); code != MUSTER_OK) return code;
      if (cublasLtTakes(*call)) return cublasLtGemm(*call, stream);
      return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "cublasLt is not asked for this product: it wants inputs contiguous in one dimension, an f32 result with a bias, and no activation but ReLU and GELU by tanh");
  }
  return MUSTER_FAIL(MUSTER_OUT_OF_RANGE, 0, "there is no algorithm %d for matrix products", static_cast<int>(algorithm));
}
