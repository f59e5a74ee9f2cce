/** simt.cuh for the emulator: what warps do together, each lane writes down, and after all have, each computes its share by the definition. */
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "fibers.h"
#include "kernels/formats.h"

namespace muster::cuda {

inline constexpr unsigned kWarp = 32;

#define threadIdx (::muster::emulator::current().thread)
#define blockIdx (::muster::emulator::current().block)
#define blockDim (::muster::emulator::current().blockSize)
#define gridDim (::muster::emulator::current().gridSize)

inline void syncBlock() { emulator::syncBlock(); }
inline void syncWarp() { emulator::syncWarp(); }
inline bool anyInBlock(bool value) { return emulator::anyInBlock(value); }
inline unsigned char* dynamicShared() { return emulator::dynamicShared(); }

/** Every lane's value, after all have given theirs. */
template <class Value, class Use>
auto inWarp(const Value& value, Use use) {
  emulator::Warp& warp = emulator::current().warp();
  static_assert(sizeof(Value) <= sizeof warp.slots[0]);
  std::memcpy(warp.slots[emulator::current().lane()], &value, sizeof value);
  emulator::syncWarp();
  const auto result = use([&](unsigned lane) {
    Value other;
    std::memcpy(&other, warp.slots[lane], sizeof other);
    return other;
  });
  emulator::syncWarp();
  return result;
}

template <class Number>
Number shuffleXor(Number value, unsigned mask) {
  return inWarp(value, [&](auto of) { return of(emulator::current().lane() ^ mask); });
}

inline std::uint16_t roundToF16(float value) { return kernels::reference::narrow<kernels::F16>(value); }
inline std::uint16_t roundToBf16(float value) { return kernels::reference::narrow<kernels::Bf16>(value); }
template <bool isBf16>
std::uint32_t roundPair(float first, float second) {
  const auto round = [](float value) -> std::uint32_t { return isBf16 ? roundToBf16(value) : roundToF16(value); };
  return round(first) | round(second) << 16;
}
inline float f32OfF16(std::uint16_t bits) { return kernels::reference::widen<kernels::F16>(bits); }
inline std::uint32_t bitsOf(float value) { return std::bit_cast<std::uint32_t>(value); }
inline float floatOf(std::uint32_t bits) { return std::bit_cast<float>(bits); }

/** Done at the latest moment that is allowed: what is read before it was waited for is seen to be old. */
inline void copyAsync16(void* shared, const void* global, unsigned sizeBytes) { emulator::current().copies.add(shared, global, sizeBytes); }
inline void commitCopies() { emulator::current().copies.commit(); }
template <int groups>
void waitForCopies() {
  emulator::current().copies.wait(groups);
}

template <bool transposed>
void loadMatrices(std::uint32_t (&words)[4], const void* shared) {
  struct Four { std::uint32_t words[4]; };
  const unsigned lane = emulator::current().lane();
  const Four result = inWarp(shared, [&](auto addressOf) {
    Four four;
    for (unsigned matrix = 0; matrix < 4; matrix++) {
      const auto element = [&](unsigned row, unsigned column) -> std::uint32_t { return static_cast<const std::uint16_t*>(addressOf(8 * matrix + row))[column]; };
      const unsigned first = lane / 4;
      const unsigned second = 2 * (lane % 4);
      four.words[matrix] = transposed ? element(second, first) | element(second + 1, first) << 16 : element(first, second) | element(first, second + 1) << 16;
    }
    return four;
  });
  std::memcpy(words, result.words, sizeof words);
}

template <bool isBf16>
void multiplyAdd16816(float (&sums)[4], const std::uint32_t (&left)[4], std::uint32_t right0, std::uint32_t right1) {
  using Format = std::conditional_t<isBf16, kernels::Bf16, kernels::F16>;
  struct Given { std::uint32_t left[4], right[2]; };
  struct Four { float sums[4]; };
  const Given given{{left[0], left[1], left[2], left[3]}, {right0, right1}};
  const unsigned lane = emulator::current().lane();
  const auto half = [](std::uint32_t word, unsigned index) { return kernels::reference::widen<Format>(static_cast<std::uint16_t>(word >> 16 * index)); };
  const Four added = inWarp(given, [&](auto of) {
    Four result;
    for (unsigned index = 0; index < 4; index++) {
      const unsigned row = lane / 4 + 8 * (index / 2);
      const unsigned column = 2 * (lane % 4) + index % 2;
      float sum = 0;
      for (unsigned depth = 0; depth < 16; depth++) {
        const unsigned lane4 = depth % 8 / 2;
        sum += half(of(row % 8 * 4 + lane4).left[row / 8 + 2 * (depth / 8)], depth % 2) * half(of(column * 4 + lane4).right[depth / 8], depth % 2);
      }
      result.sums[index] = sum;
    }
    return result;
  });
  for (unsigned index = 0; index < 4; index++) sums[index] += added.sums[index];
}

inline void storeReleaseSystem(std::uint32_t* flag, std::uint32_t value) { __atomic_store_n(flag, value, __ATOMIC_RELEASE); }
inline std::uint32_t loadAcquireSystem(const std::uint32_t* flag) { return __atomic_load_n(flag, __ATOMIC_ACQUIRE); }
inline std::uint64_t nanoseconds() { return emulator::nanoseconds(); }
inline void pause() { emulator::yield(); }

}  // namespace muster::cuda
