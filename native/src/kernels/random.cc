/**
 * Philox 4x32-10. Each counter makes four words, one for each of four elements, so that any part of a sequence can be made by itself. About 60 integer
 * operations for four numbers, which the compiler puts side by side in vectors: kTogether counters at once.
 * Source: Salmon, Moraes, Dror, Shaw 2011; constants and order of words as in Random123.
 */
#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <numbers>

#include "kernels/check.h"
#include "kernels/pieces.h"
#include "kernels/strided.h"
#include "status.h"

namespace muster::kernels {
namespace {

constexpr std::size_t kTogether = 16;
constexpr std::size_t kWords = 4 * kTogether;

/** The words of counters [counter, counter + kTogether): word w of counter c is number 4 * c + w. */
void philox(std::uint64_t seed, std::uint64_t counter, std::uint32_t* words) {
  constexpr std::uint64_t multiplierA = 0xD2511F53, multiplierB = 0xCD9E8D57;
  constexpr std::uint32_t weylA = 0x9E3779B9, weylB = 0xBB67AE85;
  std::uint32_t state[4][kTogether];
  for (std::size_t lane = 0; lane < kTogether; lane++) {
    state[0][lane] = static_cast<std::uint32_t>(counter + lane);
    state[1][lane] = static_cast<std::uint32_t>((counter + lane) >> 32);
    state[2][lane] = state[3][lane] = 0;
  }
  auto keyA = static_cast<std::uint32_t>(seed);
  auto keyB = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; round++) {
    for (std::size_t lane = 0; lane < kTogether; lane++) {
      const std::uint64_t a = multiplierA * state[0][lane];
      const std::uint64_t b = multiplierB * state[2][lane];
      state[0][lane] = static_cast<std::uint32_t>(b >> 32) ^ state[1][lane] ^ keyA;
      state[1][lane] = static_cast<std::uint32_t>(b);
      state[2][lane] = static_cast<std::uint32_t>(a >> 32) ^ state[3][lane] ^ keyB;
      state[3][lane] = static_cast<std::uint32_t>(a);
    }
    keyA += weylA;
    keyB += weylB;
  }
  for (std::size_t lane = 0; lane < kTogether; lane++) {
    for (std::size_t word = 0; word < 4; word++) words[4 * lane + word] = state[word][lane];
  }
}

/** From [0, 1): 24 bits, which an f32 holds exactly. */
float unit(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

void uniform(const muster_random_call& call, const std::uint32_t* words, float* numbers) {
  const auto low = static_cast<float>(call.first);
  const auto range = static_cast<float>(call.second - call.first);
  for (std::size_t index = 0; index < kWords; index++) numbers[index] = low + range * unit(words[index]);
}

/** Two words make two numbers. */
void normal(const muster_random_call& call, const std::uint32_t* words, float* numbers) {
  for (std::size_t index = 0; index < kWords; index += 2) {
    const double radius = std::sqrt(-2 * std::log(1 - static_cast<double>(unit(words[index]))));
    const double angle = 2 * std::numbers::pi * unit(words[index + 1]);
    numbers[index] = static_cast<float>(call.first + call.second * radius * std::cos(angle));
    numbers[index + 1] = static_cast<float>(call.first + call.second * radius * std::sin(angle));
  }
}

void bernoulli(const muster_random_call& call, const std::uint32_t* words, float* numbers) {
  const auto probability = static_cast<float>(call.first);
  const auto value = static_cast<float>(call.second);
  for (std::size_t index = 0; index < kWords; index++) numbers[index] = unit(words[index]) < probability ? value : 0;
}

void fill(const muster_random_call& call, const Space& space, const Operand& result, std::uint64_t position, std::size_t count) {
  std::uint32_t words[kWords];
  philox(call.seed, call.counter + position / 4, words);
  if (call.kind == MUSTER_RANDOM_BITS) {
    std::copy_n(words, count, reinterpret_cast<std::uint32_t*>(result.data) + position);
    return;
  }
  float numbers[kWords];
  switch (call.kind) {
    case MUSTER_RANDOM_UNIFORM: uniform(call, words, numbers); break;
    case MUSTER_RANDOM_NORMAL: normal(call, words, numbers); break;
    default: bernoulli(call, words, numbers);
  }
  storeFloats(space, result, position, count, numbers);
}

}  // namespace
}  // namespace muster::kernels

using namespace muster::kernels;

muster_code muster_random(const muster_random_call* call, uint32_t threads) {
  if (const muster_code code = checkThreads(threads); code != MUSTER_OK) return code;
  const muster_random_call own = inOnePiece(*call);
  if (const muster_code code = checkRandom(own); code != MUSTER_OK) return code;
  Operand result;
  const Space space = collapse(&own.count, 0, 1, {{&own.result, &result}});
  const auto pieces = piecesOf(1, [&](std::size_t) { return own.count; });
  parallelFor(threadCount(threads), pieces.size(), [&](std::size_t item) {
    const std::uint64_t end = pieces[item].offset + pieces[item].elements;
    for (std::uint64_t position = pieces[item].offset; position < end; position += kWords) fill(own, space, result, position, std::min<std::uint64_t>(kWords, end - position));
  });
  return MUSTER_OK;
}
