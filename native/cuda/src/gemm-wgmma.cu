/**
 * Matrix products of f16 and bf16 with Hopper's wgmma, fed by the tensor memory accelerator. Tiles of 128 x 256 of the result; one warp brings tiles of depth 64 into a ring of
 * kStages, two warpgroups multiply 64 rows each: m64n256k16, 128 sums a thread. 48 KiB of the second cache for 4 MiFLOP, half of what mma tiles read.
 * What is outside the matrices comes as zeros. Depth is contiguous in both inputs: lines of 128 bytes, in the accelerator's 128-byte swizzle.
 * With 384 threads of a block a thread has 168 registers, enough for the sums: registers are not moved between warpgroups.
 * CPU reference: src/kernels/gemm.h. Source: PTX ISA 9.0, "Asynchronous Warpgroup Level Matrix Instructions" and "Tensor copy".
 */
#include <cuda.h>

#include "formats.cuh"
#include "gemm-epilogue.cuh"
#include "gemm.h"
#include "launch.h"

namespace muster::cuda {
namespace {

constexpr unsigned kRows = 128;
constexpr unsigned kColumns = 256;
/** 128 bytes: the span of the swizzle. */
constexpr unsigned kDepth = 64;
constexpr unsigned kStages = 4;
constexpr unsigned kWarpgroup = 128;
/** The one that brings tiles, and two that multiply. */
constexpr unsigned kThreads = 3 * kWarpgroup;
constexpr unsigned kUserWarps = 8;
constexpr unsigned kLeftBytes = kRows * kDepth * 2;
constexpr unsigned kRightBytes = kColumns * kDepth * 2;
/** Swizzled tiles start at multiples of it. */
constexpr unsigned kAlignment = 1024;
constexpr std::size_t kTilesBytes = std::size_t{kStages} * (kLeftBytes + kRightBytes);
constexpr std::size_t kSharedBytes = kAlignment + kTilesBytes;
static_assert(kSumsBytes<kRows, kColumns> <= kTilesBytes);

/** A barrier of shared memory that counts arrivals and bytes. */
struct Barrier {
  std::uint64_t state;
};

__device__ __forceinline__ void initialize(Barrier& barrier, unsigned arrivals) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(sharedAddress(&barrier)), "r"(arrivals) : "memory"); }
__device__ __forceinline__ void arrive(Barrier& barrier) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(sharedAddress(&barrier)) : "memory"); }
__device__ __forceinline__ void arriveExpecting(Barrier& barrier, unsigned sizeBytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(sharedAddress(&barrier)), "r"(sizeBytes) : "memory");
}
/** Waits until the phase of this parity has ended. Of a barrier that was never arrived at, the phase of parity 1 has. */
__device__ __forceinline__ void wait(Barrier& barrier, unsigned parity) {
  std::uint32_t isDone = 0;
  while (isDone == 0) {
    asm volatile(
        "{\n.reg .pred done;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
        "selp.u32 %0, 1, 0, done;\n}\n"
        : "=r"(isDone) : "r"(sharedAddress(&barrier)), "r"(parity) : "memory");
  }
}

/** Brings a box of the map at (depth, line, batch) into shared memory, and tells the barrier its bytes. By one thread. */
__device__ __forceinline__ void bring(void* shared, const CUtensorMap& map, std::uint32_t depth, std::uint32_t line, std::uint32_t batch, Barrier& barrier) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(sharedAddress(shared)), "l"(&map), "r"(depth), "r"(line), "r"(batch),
               "r"(sharedAddress(&barrier))
               : "memory");
}

/** A tile for wgmma: depth contiguous, 128-byte swizzle (1 in bits 62 and 63), 1024 bytes from 8 lines to the next 8. */
__device__ __forceinline__ std::uint64_t descriptorOf(const void* tile) {
  const std::uint64_t address = (sharedAddress(tile) & 0x3ffff) >> 4;
  return address | std::uint64_t{1} << 16 | std::uint64_t{1024 >> 4} << 32 | std::uint64_t{1} << 62;
}

__device__ __forceinline__ void beginMultiplying() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commitMultiplying() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int groups>
__device__ __forceinline__ void waitForMultiplying() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(groups) : "memory");
}

#define MUSTER_WGMMA(type)                                                                                             \
  asm volatile(                                                                                                        \
      "wgmma.mma_async.sync.aligned.m64n256k16.f32." type "." type " {" \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127" \
      "}, %128, %129, 1, 1, 1, 0, 0;"                                                                                   \
      : \
      "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]), "+f"(sums[4]), "+f"(sums[5]), "+f"(sums[6]), "+f"(sums[7]), \
      "+f"(sums[8]), "+f"(sums[9]), "+f"(sums[10]), "+f"(sums[11]), "+f"(sums[12]), "+f"(sums[13]), "+f"(sums[14]), "+f"(sums[15]), \
      "+f"(sums[16]), "+f"(sums[17]), "+f"(sums[18]), "+f"(sums[19]), "+f"(sums[20]), "+f"(sums[21]), "+f"(sums[22]), "+f"(sums[23]), \
      "+f"(sums[24]), "+f"(sums[25]), "+f"(sums[26]), "+f"(sums[27]), "+f"(sums[28]), "+f"(sums[29]), "+f"(sums[30]), "+f"(sums[31]), \
      "+f"(sums[32]), "+f"(sums[33]), "+f"(sums[34]), "+f"(sums[35]), "+f"(sums[36]), "+f"(sums[37]), "+f"(sums[38]), "+f"(sums[39]), \
      "+f"(sums[40]), "+f"(sums[41]), "+f"(sums[42]), "+f"(sums[43]), "+f"(sums[44]), "+f"(sums[45]), "+f"(sums[46]), "+f"(sums[47]), \
      "+f"(sums[48]), "+f"(sums[49]), "+f"(sums[50]), "+f"(sums[51]), "+f"(sums[52]), "+f"(sums[53]), "+f"(sums[54]), "+f"(sums[55]), \
      "+f"(sums[56]), "+f"(sums[57]), "+f"(sums[58]), "+f"(sums[59]), "+f"(sums[60]), "+f"(sums[61]), "+f"(sums[62]), "+f"(sums[63]), \
      "+f"(sums[64]), "+f"(sums[65]), "+f"(sums[66]), "+f"(sums[67]), "+f"(sums[68]), "+f"(sums[69]), "+f"(sums[70]), "+f"(sums[71]), \
      "+f"(sums[72]), "+f"(sums[73]), "+f"(sums[74]), "+f"(sums[75]), "+f"(sums[76]), "+f"(sums[77]), "+f"(sums[78]), "+f"(sums[79]), \
      "+f"(sums[80]), "+f"(sums[81]), "+f"(sums[82]), "+f"(sums[83]), "+f"(sums[84]), "+f"(sums[85]), "+f"(sums[86]), "+f"(sums[87]), \
      "+f"(sums[88]), "+f"(sums[89]), "+f"(sums[90]), "+f"(sums[91]), "+f"(sums[92]), "+f"(sums[93]), "+f"(sums[94]), "+f"(sums[95]), \
      "+f"(sums[96]), "+f"(sums[97]), "+f"(sums[98]), "+f"(sums[99]), "+f"(sums[100]), "+f"(sums[101]), "+f"(sums[102]), "+f"(sums[103]), \
      "+f"(sums[104]), "+f"(sums[105]), "+f"(sums[106]), "+f"(sums[107]), "+f"(sums[108]), "+f"(sums[109]), "+f"(sums[110]), "+f"(sums[111]), \
      "+f"(sums[112]), "+f"(sums[113]), "+f"(sums[114]), "+f"(sums[115]), "+f"(sums[116]), "+f"(sums[117]), "+f"(sums[118]), "+f"(sums[119]), \
      "+f"(sums[120]), "+f"(sums[121]), "+f"(sums[122]), "+f"(sums[123]), "+f"(sums[124]), "+f"(sums[125]), "+f"(sums[126]), "+f"(sums[127]) \
      : "l"(left), "l"(right))

/** sums (64 x 256) += left (64 x 16) * right (16 x 256), by a warpgroup, in the background. */
template <class Format>
__device__ __forceinline__ void multiplyAdd(float (&sums)[128], std::uint64_t left, std::uint64_t right) {
  if constexpr (Format::kDtype == MUSTER_BF16) {
    MUSTER_WGMMA("bf16");
  } else {
    MUSTER_WGMMA("f16");
  }
}


template <class Format>
__global__ void __launch_bounds__(kThreads, 1) wgmmaGemmKernel(const __grid_constant__ CUtensorMap leftMap, const __grid_constant__ CUtensorMap rightMap, const __grid_constant__ Product product, TileGrid grid) {
  __shared__ Barrier full[kStages];
  __shared__ Barrier empty[kStages];
  unsigned char* const tiles = dynamicShared() + (kAlignment - sharedAddress(dynamicShared()) % kAlignment) % kAlignment;
  const auto leftTile = [&](unsigned stage) { return tiles + stage * (kLeftBytes + kRightBytes); };
  const auto rightTile = [&](unsigned stage) { return leftTile(stage) + kLeftBytes; };
  const std::uint64_t gridTiles = std::uint64_t{grid.rowTiles} * grid.columnTiles;
  const auto batch = static_cast<std::uint32_t>(blockIdx.x / gridTiles);
  std::uint32_t rowTile, columnTile;
  placeTile(grid, blockIdx.x % gridTiles, rowTile, columnTile);
  const std::uint32_t firstRow = rowTile * kRows;
  const std::uint32_t firstColumn = columnTile * kColumns;
  const auto steps = static_cast<std::uint32_t>((product.depth + kDepth - 1) / kDepth);
  if (threadIdx.x == 0) {
    for (unsigned stage = 0; stage < kStages; stage++) {
      initialize(full[stage], 1);
      initialize(empty[stage], kUserWarps);
    }
    // The accelerator, which counts bytes into them, sees them as they are now.
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  syncBlock();

  const unsigned warpgroup = threadIdx.x / kWarpgroup;
  float sums[128] = {};
  if (warpgroup == 2) {
    if (threadIdx.x % kWarpgroup == 0) {
      for (std::uint32_t step = 0; step < steps; step++) {
        const unsigned stage = step % kStages;
        wait(empty[stage], (step / kStages & 1) ^ 1);
        arriveExpecting(full[stage], kLeftBytes + kRightBytes);
        bring(leftTile(stage), leftMap, step * kDepth, firstRow, batch, full[stage]);
        bring(rightTile(stage), rightMap, step * kDepth, firstColumn, batch, full[stage]);
      }
    }
  } else {
    for (std::uint32_t step = 0; step < steps; step++) {
      const unsigned stage = step % kStages;
      wait(full[stage], step / kStages & 1);
      const std::uint64_t left = descriptorOf(leftTile(stage) + warpgroup * (kLeftBytes / 2));
      const std::uint64_t right = descriptorOf(rightTile(stage));
      beginMultiplying();
#pragma unroll
      for (unsigned depth = 0; depth < kDepth; depth += 16) multiplyAdd<Format>(sums, left + depth * 2 / 16, right + depth * 2 / 16);
      commitMultiplying();
      // All but this step's are done, so the tile before is free.
      waitForMultiplying<1>();
      if (step > 0 && threadIdx.x % kWarp == 0) arrive(empty[(step - 1) % kStages]);
    }
    waitForMultiplying<0>();
  }

  // All tiles were brought and used: every step's was waited for. Their place is the sums' from here on.
  syncBlock();
  auto* const tile = reinterpret_cast<float*>(tiles);
  if (warpgroup < 2) {
    const unsigned lane = threadIdx.x % kWarp;
    const unsigned row = threadIdx.x / kWarp * 16 + lane / 4;
#pragma unroll
    for (unsigned part = 0; part < 32; part++) {
      float* const to = tile + row * kSumsPitch<kColumns> + part * 8 + lane % 4 * 2;
      to[0] = sums[4 * part], to[1] = sums[4 * part + 1];
      to[8 * kSumsPitch<kColumns>] = sums[4 * part + 2], to[8 * kSumsPitch<kColumns> + 1] = sums[4 * part + 3];
    }
  }
  syncBlock();
  finishTile<Format, kRows, kColumns>(product, batch, firstRow, firstColumn, tile, threadIdx.x, kThreads);
}

using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                            CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/** The driver's function, found at run time: nothing links to the driver. */
muster_code findEncode(Encode& encode) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  constexpr unsigned version = 12000;
  MUSTER_CUDA_TRY(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, version, cudaEnableDefault, &found));
  if (found != cudaDriverEntryPointSuccess || function == nullptr) return MUSTER_FAIL(MUSTER_UNAVAILABLE, 0, "the driver has no cuTensorMapEncodeTiled: it is older than 12.0");
  encode = reinterpret_cast<Encode>(function);
  return MUSTER_OK;
}

muster_code mapOf(Encode encode, const muster_matrices& matrices, std::uint64_t batches, std::uint64_t lines, std::uint64_t depth, std::uint64_t lineStride, unsigned boxLines, CUtensorMap& map) {
  const bool isBf16 = matrices.tensor.dtype == MUSTER_BF16;
  const cuuint64_t sizes[] = {depth, lines, batches};
  const cuuint64_t strideBytes[] = {lineStride * 2, batches == 1 ? lineStride * 2 : matrices.batch_stride * 2};
  const cuuint32_t box[] = {kDepth, boxLines, 1};
  const cuuint32_t steps[] = {1, 1, 1};
  const CUresult result = encode(&map, isBf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 3, matrices.tensor.data, sizes, strideBytes, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                 CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result == CUDA_SUCCESS) return MUSTER_OK;
  return MUSTER_FAIL(MUSTER_DEVICE_FAILED, 0, "cuTensorMapEncodeTiled refuses %llu x %llu x %llu elements: error %d", static_cast<unsigned long long>(batches), static_cast<unsigned long long>(lines),
                     static_cast<unsigned long long>(depth), static_cast<int>(result));
}

}  // namespace

muster_code wgmmaGemm(const GemmCall& call, cudaStream_t stream) {
  Encode encode = nullptr;
  if (const muster_code code = findEncode(encode); code != MUSTER_OK) return code;
  CUtensorMap left, right;
  if (const muster_code code = mapOf(encode, call.left, call.batches, call.rows, call.depth, call.left.row_stride, kRows, left); code != MUSTER_OK) return code;
  if (const muster_code code = mapOf(encode, call.right, call.batches, call.columns, call.depth, call.right.column_stride, kColumns, right); code != MUSTER_OK) return code;
  TileGrid grid{};
  unsigned blocks = 0;
  if (const muster_code code = tilesOf(call, kRows, kColumns, grid, blocks); code != MUSTER_OK) return code;
  if (call.left.tensor.dtype == MUSTER_BF16) return launch(wgmmaGemmKernel<Bf16>, blocks, kThreads, kSharedBytes, stream, left, right, productOf(call), grid);
  return launch(wgmmaGemmKernel<F16>, blocks, kThreads, kSharedBytes, stream, left, right, productOf(call), grid);
}

}  // namespace muster::cuda
