/**
 * muster_cuda_random: Philox 4x32-10, a thread for each counter, which makes four numbers. Bytes: the result. About 60 integer operations for four words; the normal distribution is
 * computed in f64, as on the CPU, and takes as long as the device's f64 does.
 * CPU reference: src/kernels/random.cc: the same words, and the same numbers but for the last place of the device's log, sin and cos.
 */
#include "launch.h"
#include "muster/cuda-kernels.h"
#include "strided.cuh"

namespace muster::cuda {
namespace {

struct Words {
  std::uint32_t word[4];
};

__device__ __forceinline__ Words philox(std::uint64_t seed, std::uint64_t counter) {
  constexpr std::uint64_t multiplierA = 0xD2511F53, multiplierB = 0xCD9E8D57;
  Words state{{static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32), 0, 0}};
  auto keyA = static_cast<std::uint32_t>(seed);
  auto keyB = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; round++) {
    const std::uint64_t a = multiplierA * state.word[0];
    const std::uint64_t b = multiplierB * state.word[2];
    state = {{static_cast<std::uint32_t>(b >> 32) ^ state.word[1] ^ keyA, static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(a >> 32) ^ state.word[3] ^ keyB, static_cast<std::uint32_t>(a)}};
    keyA += 0x9E3779B9;
    keyB += 0xBB67AE85;
  }
  return state;
}

/** From [0, 1): 24 bits, which an f32 holds exactly. */
__device__ __forceinline__ float unit(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

__device__ __forceinline__ float numberOf(const muster_random_call& call, const Words& words, unsigned index) {
  const float own = unit(words.word[index]);
  if (call.kind == MUSTER_RANDOM_UNIFORM) return static_cast<float>(call.first) + static_cast<float>(call.second - call.first) * own;
  if (call.kind == MUSTER_RANDOM_BERNOULLI) return own < static_cast<float>(call.first) ? static_cast<float>(call.second) : 0;
  constexpr double twoPi = 6.283185307179586;
  const double radius = sqrt(-2 * log(1 - static_cast<double>(unit(words.word[index & 2]))));
  const double angle = twoPi * unit(words.word[index | 1]);
  return static_cast<float>(call.first + call.second * radius * (index % 2 == 0 ? cos(angle) : sin(angle)));
}

__global__ void __launch_bounds__(kBlockThreads) randomKernel(muster_random_call call) {
  for (std::uint64_t counter = threadOfGrid(); counter * 4 < call.count; counter += threadsOfGrid()) {
    const Words words = philox(call.seed, call.counter + counter);
    for (unsigned index = 0; index < 4 && counter * 4 + index < call.count; index++) {
      const std::uint64_t at = call.result.offset + counter * 4 + index;
      if (call.kind == MUSTER_RANDOM_BITS) {
        static_cast<std::uint32_t*>(call.result.data)[at] = words.word[index];
      } else {
        storeNumber(call.result.dtype, call.result.data, at, numberOf(call, words, index));
      }
    }
  }
}

}  // namespace
}  // namespace muster::cuda

using namespace muster::cuda;

muster_code muster_cuda_random(const muster_random_call* call, muster_cuda_stream stream) {
  const muster_random_call own = muster::kernels::inOnePiece(*call);
  if (const muster_code code = muster::kernels::checkRandom(own); code != MUSTER_OK) return code;
  if (own.count == 0) return MUSTER_OK;
  return launch(randomKernel, blocksFor((own.count + 3) / 4, kBlockThreads), kBlockThreads, 0, stream, own);
}
