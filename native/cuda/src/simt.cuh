/**
 * What the kernels ask of the processor: its intrinsics, and the few instructions that have none, each under one name. The emulator (../emulator) has
 * the same names for threads that are fibers, so that the kernels' own text runs in tests on machines without a GPU.
 * Source: PTX ISA 9.0, "Parallel Synchronization and Communication Instructions", "Warp Level Matrix Instructions".
 */
#pragma once

#include <cstdint>

#include <cuda_runtime.h>

#ifdef MUSTER_EMULATED
#include "simt-emulated.h"
#else

namespace muster::cuda {

inline constexpr unsigned kWarp = 32;

__device__ __forceinline__ void syncBlock() { __syncthreads(); }
__device__ __forceinline__ void syncWarp() { __syncwarp(); }
__device__ __forceinline__ bool anyInBlock(bool value) { return __syncthreads_or(value) != 0; }

template <class Number>
__device__ __forceinline__ Number shuffleXor(Number value, unsigned mask) {
  return __shfl_xor_sync(0xffffffffu, value, static_cast<int>(mask));
}

/** The block's memory whose size the launch says. */
__device__ __forceinline__ unsigned char* dynamicShared() {
  extern __shared__ __align__(1024) unsigned char memory[];
  return memory;
}

/** To nearest even; not for NaN. */
__device__ __forceinline__ std::uint16_t roundToF16(float value) {
  std::uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
__device__ __forceinline__ std::uint16_t roundToBf16(float value) {
  std::uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
/** Two neighbours, the first one in the low half, to nearest even; NaN stays NaN. */
template <bool isBf16>
__device__ __forceinline__ std::uint32_t roundPair(float first, float second) {
  std::uint32_t word;
  if constexpr (isBf16) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
  }
  return word;
}
/** Exact; not for NaN. */
__device__ __forceinline__ float f32OfF16(std::uint16_t bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

__device__ __forceinline__ std::uint32_t bitsOf(float value) { return __float_as_uint(value); }
__device__ __forceinline__ float floatOf(std::uint32_t bits) { return __uint_as_float(bits); }

/** A shared address as the instructions below want it. */
__device__ __forceinline__ std::uint32_t sharedAddress(const void* shared) { return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared)); }

/** Copies 16 bytes to shared memory in the background: `sizeBytes` (0 to 16) of the source, and zeros. Both addresses are multiples of 16. */
__device__ __forceinline__ void copyAsync16(void* shared, const void* global, unsigned sizeBytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(sharedAddress(shared)), "l"(__cvta_generic_to_global(global)), "r"(sizeBytes) : "memory");
}
/** Ends a group of this thread's copies. */
__device__ __forceinline__ void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/** Waits until at most the last `groups` of this thread's groups are under way. */
template <int groups>
__device__ __forceinline__ void waitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
}

/**
 * Four 8 x 8 matrices of 16 bits: lane 8 i + r has the address of row r of matrix i, of 16 bytes; every lane gets the elements (lane / 4, 2 (lane % 4)) and the
 * one to its right of each, or with `transposed` of each matrix's transpose.
 */
template <bool transposed>
__device__ __forceinline__ void loadMatrices(std::uint32_t (&words)[4], const void* shared) {
  if constexpr (transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]) : "r"(sharedAddress(shared)) : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]) : "r"(sharedAddress(shared)) : "memory");
  }
}

/**
 * sums (16 x 8, f32) += left (16 x 16) * right (16 x 8). With g = lane / 4 and t = lane % 4, two neighbours in a word: left (g, 2t), (g + 8, 2t),
 * (g, 2t + 8), (g + 8, 2t + 8); right (2t, g), (2t + 8, g), neighbours in depth; sums (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
 */
template <bool isBf16>
__device__ __forceinline__ void multiplyAdd16816(float (&sums)[4], const std::uint32_t (&left)[4], std::uint32_t right0, std::uint32_t right1) {
  if constexpr (isBf16) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]) : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1));
  } else {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]) : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1));
  }
}

/** Flags between GPUs: what was written before the one is seen after the other. */
__device__ __forceinline__ void storeReleaseSystem(std::uint32_t* flag, std::uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(__cvta_generic_to_global(flag)), "r"(value) : "memory");
}
__device__ __forceinline__ std::uint32_t loadAcquireSystem(const std::uint32_t* flag) {
  std::uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(__cvta_generic_to_global(flag)) : "memory");
  return value;
}

/** A clock of the whole GPU, which ticks once a microsecond or faster. */
__device__ __forceinline__ std::uint64_t nanoseconds() {
  std::uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}
/** Lets other warps run while this one waits. */
__device__ __forceinline__ void pause() { __nanosleep(100); }

}  // namespace muster::cuda
#endif
