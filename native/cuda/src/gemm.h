/** The ways to compute a matrix product on a GPU, and which of them take a call. */
#pragma once

#include <cstdint>

#include <cuda_runtime.h>

#include "muster/cuda-kernels.h"

namespace muster::cuda {

using GemmCall = muster_gemm_call;

/** What the matrices of a call look like to kernels. Strides are elements. */
struct Product {
  const void* left;
  const void* right;
  void* result;
  /** Null for none. */
  const float* bias;
  std::uint64_t rows, columns, depth;
  std::uint64_t leftRowStride, leftColumnStride, leftBatchStride;
  std::uint64_t rightRowStride, rightColumnStride, rightBatchStride;
  std::uint64_t resultRowStride, resultBatchStride;
  float alpha, beta;
  muster_activation activation;
  bool isResultF32;
};

inline Product productOf(const GemmCall& call) {
  return {.left = call.left.tensor.data,
          .right = call.right.tensor.data,
          .result = call.result.tensor.data,
          .bias = call.bias.elements == 0 ? nullptr : static_cast<const float*>(call.bias.data),
          .rows = call.rows,
          .columns = call.columns,
          .depth = call.depth,
          .leftRowStride = call.left.row_stride,
          .leftColumnStride = call.left.column_stride,
          .leftBatchStride = call.left.batch_stride,
          .rightRowStride = call.right.row_stride,
          .rightColumnStride = call.right.column_stride,
          .rightBatchStride = call.right.batch_stride,
          .resultRowStride = call.result.row_stride,
          .resultBatchStride = call.result.batch_stride,
          .alpha = call.alpha,
          .beta = call.beta,
          .activation = call.activation,
          .isResultF32 = call.result.tensor.dtype == MUSTER_F32};
}

/** Blocks of a grid of tiles, in an order that keeps what neighbours in time read in the second cache. */
struct TileGrid {
  std::uint32_t rowTiles;
  std::uint32_t columnTiles;
};

/** The tile of a block within its matrix: bands of 8 rows of tiles, down each column of the band. */
__host__ __device__ inline void placeTile(const TileGrid& grid, std::uint64_t index, std::uint32_t& row, std::uint32_t& column) {
  constexpr std::uint32_t bandRows = 8;
  const std::uint64_t bandTiles = std::uint64_t{bandRows} * grid.columnTiles;
  const auto first = static_cast<std::uint32_t>(index / bandTiles) * bandRows;
  const std::uint32_t left = grid.rowTiles - first;
  const std::uint32_t height = left < bandRows ? left : bandRows;
  const auto inBand = static_cast<std::uint32_t>(index % bandTiles);
  row = first + inBand % height;
  column = inBand / height;
}

/** Whether the kernels below take a call on a device of this capability (90 is Hopper). */
bool mmaTakes(const GemmCall& call);
bool wgmmaTakes(const GemmCall& call, int capability);
/** Of its arguments alone. */
bool cublasLtTakes(const GemmCall& call);

/** What the best algorithm is. */
muster_cuda_gemm_algorithm chooseGemm(const GemmCall& call, int capability, bool hasCublasLt);

muster_code simtGemm(const GemmCall& call, cudaStream_t stream);
muster_code mmaGemm(const GemmCall& call, cudaStream_t stream);
muster_code wgmmaGemm(const GemmCall& call, cudaStream_t stream);
/** Fails with MUSTER_UNAVAILABLE when the library has no kernel for the call. */
muster_code cublasLtGemm(const GemmCall& call, cudaStream_t stream);

/** MUSTER_OK where the library is on this machine; else MUSTER_UNAVAILABLE, with the reason as the last failure. */
muster_code cublasLtFound();

/** That a grid can have a block for each tile. */
muster_code tilesOf(const GemmCall& call, unsigned tileRows, unsigned tileColumns, TileGrid& grid, unsigned& blocks);

}  // namespace muster::cuda
